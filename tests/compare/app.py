"""The routes of a drill as an ASGI application: `plain` as it is, `wrapped` with lameduck around it."""

import asyncio
import random

import lameduck

LARGE = b"x" * (8 << 20)


async def plain(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    status, body = 200, b"fine"
    if scope["path"] == "/":
        await asyncio.sleep(random.random() / 100)
    elif scope["path"] == "/echo":
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
    elif scope["path"] == "/slow":
        await asyncio.sleep(0.3)
    elif scope["path"] == "/large":
        body = LARGE
    elif scope["path"] != "/readyz":
        status = 404
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


wrapped = lameduck.asgi(plain, grace=6, window=2, ready_path="/readyz")
