"""The applications as they are, without lameduck: what the others wrap."""

import asyncio
import itertools
import sys
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


def aiohttp():
    from aiohttp import web

    async def hello(request):
        if next(_turn) % 8 == 0:
            await asyncio.sleep(0.02)
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    return app


def serve(app):
    from aiohttp import web

    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    serve(aiohttp())
