"""The Python applications that are restarted, with lameduck around them; the server is the command's. No framework: what is under
test is the server. `/` and `/slow` are for `lameduck drill`.
"""

import asyncio
import random
import time

import lameduck

OPTIONS = {"grace": 15, "window": 2, "ready_path": "/readyz"}


def route(path):
    """How long the answer takes (seconds), and what it is; `None` for what comes back."""
    _, name, *rest = path.split("/")
    if name == "slow":
        return 0.3, f"slow {''.join(rest)}".encode()
    return random.random() / 100, None if name == "echo" else f"{name or 'item'} {''.join(rest)}".encode()


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await echo_messages(receive, send)
    elif scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    elif scope["path"] == "/events":
        await send_events(send)
    else:
        took, body = route(scope["path"])
        if body is None:
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message.get("body", b""), message.get("more_body", False)
        await asyncio.sleep(took)
        headers = [(b"content-type", b"application/octet-stream"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def send_events(send):
    """A number five times a second, and when the server leaves the last word: come back."""
    # nginx passes on at once what it would else collect.
    headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def numbers():
        n = 0
        while True:
            yield n
            n += 1
            await asyncio.sleep(0.2)

    async for n in asgi.lameduck.drain_notice.until(numbers()):
        await send({"type": "http.response.body", "body": f"data: {n}\n\n".encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b"\nretry: 500\n"})


async def echo_messages(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def threads(environ, start_response):
    took, body = route(environ["PATH_INFO"])
    if body is None:
        body = environ["wsgi.input"].read()
    time.sleep(took)
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))])
    return [body]


asgi = lameduck.asgi(application, **OPTIONS)
wsgi = lameduck.wsgi(threads, **OPTIONS)
