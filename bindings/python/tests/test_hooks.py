"""Hooks run once the server has drained, in order, and none costs another its time."""

import signal

import pytest
from conftest import UVICORN, marks

GUNICORN = "gunicorn -c python:lameduck.gunicorn --worker-class gthread --bind 127.0.0.1:{port} --log-level warning app:app"


def lines(server):
    return [hook["name"] + " " + hook["result"] for hook in server.report["hooks"]]


HOOKS = """
import asyncio, contextlib, lameduck, time, answers
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

@contextlib.asynccontextmanager
async def lifespan(app):
    print("up", flush=True)
    yield {"database": 1}
    print("down", flush=True)

async def slow(request):
    await asyncio.sleep(0.4)
    print("answered", flush=True)
    return PlainTextResponse("slow")

app = lameduck.asgi(Starlette(routes=[Route("/", slow)], lifespan=lifespan), grace=5, window=0.1, seed=1)
duck = app.lameduck

@duck.on_drain("deregister")
async def deregister():
    print("deregistered", flush=True)

@duck.on_close("second", order=2)
def second():
    print("second", flush=True)

@duck.on_close("first", order=1)
async def first():
    await asyncio.sleep(0.1)
    print("first", flush=True)

duck.on_flush("logs", lambda: print("flushed", flush=True))
"""


def test_order_around_the_applications_own_lifespan(serve):
    server = serve(HOOKS)
    waiting = server.connect().send("/")
    server.signal()
    assert waiting.answer().body == b"slow"
    assert server.end() == -signal.SIGTERM
    assert server.text.split() == "up deregistered answered first second down flushed".split()
    assert lines(server) == ["deregister ok", "second ok", "first ok", "logs ok", "lifespan ok"]


TROUBLE = """
import lameduck, time, answers

async def application(scope, receive, send):
    assert scope["type"] == "http"
    await answers.text(send)

app = lameduck.asgi(application, grace=3, window=0, reserve=1.5)
duck = app.lameduck

@duck.on_close("throws")
def throws():
    raise ValueError("no such pool")

@duck.on_close("limited", timeout=0.2)
def limited():
    time.sleep(60)

@duck.on_close("hangs")
async def hangs():
    import asyncio
    await asyncio.sleep(60)

@duck.on_close("never reached", order=1)
def later(): ...

@duck.on_flush("logs")
def flush():
    print("flushed", flush=True)
"""


def test_a_hook_that_fails_or_hangs_does_not_cost_the_logs(serve):
    server = serve(TROUBLE)
    assert server.stop() == -signal.SIGTERM
    assert "flushed" in server.text
    assert lines(server) == ["throws failed", "limited timed_out", "hangs timed_out", "never reached not_run", "logs ok"]
    assert server.report["hooks"][0]["error"] == "ValueError: no such pool"
    assert server.report["exit_code"] == 1
    assert 1 < server.took < 4


WSGI = """
import asyncio, lameduck, time

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    def body():
        for part in (b"a", b"b", b"c"):
            time.sleep(0.15)
            yield part
        print("answered", flush=True)
    return body()

app = lameduck.wsgi(application, window=0.1)
duck = app.lameduck
duck.on_drain("deregister", lambda: print("deregistered", flush=True))

@duck.on_close("pool")
async def pool():
    await asyncio.sleep(0.05)
    print("closed", flush=True)

duck.on_flush("logs", lambda: print("flushed", flush=True))
"""


def test_wsgi_hooks_run_after_the_end_of_the_last_body(serve):
    server = serve(WSGI, GUNICORN)
    waiting = server.connect().send("/")
    server.signal()
    assert waiting.answer().body == b"abc"
    assert server.end() == 0
    assert server.text.split() == "deregistered answered closed flushed".split()
    assert server.report["requests"]["completed"] == 1
    assert marks(server.report)[-1] == "done"


REENTER = """
import lameduck, answers

async def application(scope, receive, send):
    assert scope["type"] == "http"
    await answers.text(send)

app = lameduck.asgi(application, window=0)
duck = app.lameduck

@duck.on_drain("stops again")
def again():
    duck.shutdown()

@duck.on_close("waits for itself")
async def waits():
    await duck.wait_done()

@duck.on_close("too late", order=1)
def late():
    duck.on_drain("later", print)
"""


def test_a_hook_that_reenters(serve):
    server = serve(REENTER)
    server.stop()
    errors = {hook["name"]: hook.get("error") for hook in server.report["hooks"]}
    assert errors["stops again"] is None
    assert "hook 'waits for itself' would wait for the end of itself" in errors["waits for itself"]
    assert "drain hook 'later' comes too late: the process is closing; register it at start" in errors["too late"]
