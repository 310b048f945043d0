"""The smallest application: what the wrapper costs weighs most here."""

HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"2")]


async def bare(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"ok"})


def __getattr__(name):
    """`lameduck` is that with lameduck around it, `twice` the bare one again: what the bench itself varies by."""
    if name == "lameduck":
        import lameduck

        return lameduck.asgi(bare)
    if name == "twice":
        return bare
    raise AttributeError(name)
