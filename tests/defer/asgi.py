"""An ASGI application, and the wrapper that holds the server around it."""

import asyncio
import itertools

import hold

_turn = itertools.count()


async def application(scope, receive, send):
    # One answer in eight takes a while, so that there is always something in flight.
    if next(_turn) % 8 == 0:
        await asyncio.sleep(0.02)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def held(inner):
    async def outer(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            hold.start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await asyncio.to_thread(hold.server_stopped)
            await send({"type": "lifespan.shutdown.complete"})
            return

        async def announce(message):
            if message["type"] == "http.response.start" and hold.announcing():
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await inner(scope, receive, announce)

    return outer


app = held(application)
