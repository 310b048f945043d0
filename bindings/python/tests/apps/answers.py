"""What an application sends, in one call."""


async def text(send, body=b"hello", status=200):
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def begin_events(send):
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def event(send, data):
    await send({"type": "http.response.body", "body": b"data: %s\n\n" % data, "more_body": True})
