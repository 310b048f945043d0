"""aiohttp."""

import asyncio
import os

import lameduck.aiohttp
from aiohttp import web
from pool import Pool

pool = Pool()


async def slow(request):
    await asyncio.sleep(1)
    return web.json_response({"row": await pool.query()})


app = web.Application()
app.add_routes([web.get("/slow", slow)])
duck = lameduck.aiohttp.attach(app, grace=30, live_path="/livez", ready_path="/readyz", checks={"database": pool.query})
duck.on_close("database", pool.close)

if __name__ == "__main__":
    web.run_app(app, port=int(os.environ.get("PORT", 8080)))
