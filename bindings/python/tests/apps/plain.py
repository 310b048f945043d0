"""The applications as they are, without lameduck: what the others wrap."""

import asyncio
import itertools
import time

_turn = itertools.count()


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    # One answer in eight takes a while, so that there is always something in flight.
    if next(_turn) % 8 == 0:
        await asyncio.sleep(0.02)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def wsgi(environ, start_response):
    if next(_turn) % 8 == 0:
        time.sleep(0.02)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
