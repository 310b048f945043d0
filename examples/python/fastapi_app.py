"""fastapi, uvicorn[standard]."""

import asyncio
import logging

import lameduck
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pool import Pool

logging.basicConfig(level=logging.INFO)  # the log of a shutdown, and its report
api = FastAPI()
pool = Pool()


@api.get("/slow")
async def slow():
    await asyncio.sleep(1)
    return {"row": await pool.query()}


@api.get("/events")
async def events():
    async def ticks():
        while True:
            yield "data: tick\n\n"
            await asyncio.sleep(0.1)

    # Ends when draining begins: the client comes back to a server that stays.
    return StreamingResponse(app.lameduck.drain_notice.until(ticks()), media_type="text/event-stream")


@api.websocket("/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect as gone:  # 1012 when the server leaves
        print("socket closed:", gone.code, flush=True)


app = lameduck.asgi(api, grace=30, live_path="/livez", ready_path="/readyz", checks={"database": pool.query})
app.lameduck.on_close("database", pool.close)
