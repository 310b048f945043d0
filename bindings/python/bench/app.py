"""The smallest application: what the wrapper costs weighs most here."""

import contextvars

HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"2")]


async def bare(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"ok"})


class Passed:
    """The least that a wrapper can be."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


in_request = contextvars.ContextVar("in_request", default=False)


class Marked(Passed):
    """One that marks what runs in a request, its tasks and threads too."""

    async def __call__(self, scope, receive, send):
        in_request.set(True)
        await self.app(scope, receive, send)


def __getattr__(name):
    """`lameduck` is that with lameduck around it, `twice` the bare one again: what the bench itself varies by."""
    if name == "lameduck":
        import lameduck

        return lameduck.asgi(bare)
    if name == "twice":
        return bare
    raise AttributeError(name)


passed = Passed(bare)
marked = Marked(bare)
