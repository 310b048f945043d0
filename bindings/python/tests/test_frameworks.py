"""Frameworks around which the wrapper goes, as a program would write them."""

import signal
import time

import pytest
from conftest import UVICORN
from websockets.sync.client import connect

GUNICORN = "gunicorn -c python:lameduck.gunicorn --worker-class gthread --bind 127.0.0.1:{port} --log-level warning app:app"

FASTAPI = """
import asyncio, contextlib, lameduck
from fastapi import BackgroundTasks, FastAPI, WebSocket

@contextlib.asynccontextmanager
async def lifespan(app):
    yield
    print("lifespan ended", flush=True)

api = FastAPI(lifespan=lifespan)
app = lameduck.asgi(api, grace=6, window=0.3, ready_path="/readyz")

@app.get("/slow")
async def slow(tasks: BackgroundTasks):
    await app.lameduck.drain_notice
    await asyncio.sleep(0.4)  # beyond the window
    tasks.add_task(mail)
    return {"phase": app.lameduck.phase}

async def mail():
    await asyncio.sleep(0.3)
    print("mailed", flush=True)

@app.lameduck.on_close("database")
async def close():
    print("closed", flush=True)
"""

DJANGO = """
import os, django, lameduck, time
from django.conf import settings
from django.http import JsonResponse
from django.urls import path

settings.configure(DEBUG=False, SECRET_KEY="test", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)

def slow(request):
    app.lameduck.drain_notice.wait()
    time.sleep(0.4)  # beyond the window
    return JsonResponse({"phase": app.lameduck.phase})

urlpatterns = [path("slow", slow)]
django.setup()
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
app = lameduck.INTERFACE(get_INTERFACE_application(), grace=6, window=0.3, ready_path="/readyz")
app.lameduck.on_close("database", lambda: print("closed", flush=True))
"""

FLASK = """
import lameduck, time
from flask import Flask

flask = Flask(__name__)

@flask.get("/slow")
def slow():
    app.lameduck.drain_notice.wait()
    time.sleep(0.4)  # beyond the window
    return {"phase": app.lameduck.phase}

app = lameduck.wsgi(flask, grace=6, window=0.3, ready_path="/readyz")
app.lameduck.on_close("database", lambda: print("closed", flush=True))
"""

AIOHTTP = """
import asyncio, lameduck.aiohttp, sys
from aiohttp import web, WSMsgType

async def slow(request):
    await duck.drain_notice
    await asyncio.sleep(0.4)  # beyond the window
    return web.json_response({"phase": duck.phase})

async def events(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    while True:
        await response.write(b"data: tick\\n\\n")
        await asyncio.sleep(0.02)

async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket

async def stuck(request):
    await asyncio.Event().wait()

async def cleanup(app):
    print("cleaned up", flush=True)

app = web.Application()
app.add_routes([web.get("/slow", slow), web.get("/events", events), web.get("/echo", echo), web.get("/stuck", stuck)])
app.on_cleanup.append(cleanup)
duck = lameduck.aiohttp.attach(app, grace=4, window=0.4, reserve=1, margin=0.5, ready_path="/readyz")
duck.on_close("database", lambda: print("closed", flush=True))
if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""
RUN_APP = "python app.py {port}"

APPLICATIONS = {
    "aiohttp": (AIOHTTP, RUN_APP, 0, ["closed", "cleaned up"]),
    "FastAPI on uvicorn": (FASTAPI, UVICORN, -signal.SIGTERM, ["mailed", "closed", "lifespan ended"]),
    "Django on uvicorn": (DJANGO.replace("INTERFACE", "asgi"), UVICORN, -signal.SIGTERM, ["closed"]),
    "Django on gunicorn": (DJANGO.replace("INTERFACE", "wsgi"), GUNICORN, 0, ["closed"]),
    "Flask on gunicorn": (FLASK, GUNICORN, 0, ["closed"]),
    "Flask on gunicorn's sync worker": (FLASK, GUNICORN.replace("gthread", "sync"), 0, ["closed"]),
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_framework(serve, name):
    source, command, status, printed = APPLICATIONS[name]
    server = serve(source, command)
    assert server.get("/readyz").status == 200
    slow = server.connect().send("/slow")
    time.sleep(0.1)
    server.signal()
    answer = slow.answer()
    assert answer.status == 200 and b"".join(answer.body.split()) == b'{"phase":"draining"}'
    assert server.end() == status
    assert server.text.split("\n")[:-1] == printed
    assert server.report["lost"] == [] and server.report["requests"]["completed"] == 1
    assert server.report["hooks"][0] == {**server.report["hooks"][0], "name": "database", "result": "ok"}


def test_aiohttp_streams_sockets_and_what_is_stuck(serve):
    server = serve(AIOHTTP, RUN_APP)
    stream = server.connect().send("/events")
    assert stream.until(b"tick\n\n")
    stuck = server.connect().send("/stuck")
    with connect(f"ws://127.0.0.1:{server.port}/echo") as socket:
        socket.send("hello")
        assert socket.recv(timeout=5) == "hello"
        server.signal()
        assert stream.until(b"0\r\n\r\n") and stream.has_ended()
        with pytest.raises(Exception):
            socket.recv(timeout=5)
        assert (socket.close_code, socket.close_reason) == (1012, "the server is restarting")
    answer = stuck.answer()
    assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert server.end() == 0
    assert server.took < 5
    requests = server.report["requests"]
    assert (requests["ended"], requests["forced"]) == (2, 1)
    assert server.text.split("\n")[:-1] == ["closed", "cleaned up"]


def test_gunicorn_wraps_what_is_not_wrapped(serve):
    source = FLASK.replace("lameduck.wsgi(flask, grace=6, window=0.3, ready_path=\"/readyz\")", "flask")
    source = source.replace("app.lameduck.on_close", "#").replace("app.lameduck.drain_notice.wait()", "").replace("app.lameduck.phase", "'plain'")
    server = serve(source, GUNICORN, LAMEDUCK_WINDOW="0.4")
    assert server.get("/slow").status == 200
    assert server.stop() == 0
    assert 0.4 < server.took < 4
    policy = {line["name"]: line for line in server.report["policy"]}
    assert policy["grace"] == {"name": "grace", "ms": 30_000, "origin": "code"}, "gunicorn's graceful_timeout"
    assert policy["window"]["ms"] == 400


def test_without_a_server_nothing_is_held():
    """A test calls the application, over and over; its process keeps its signals and has no deadline."""
    import lameduck
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    closed = []
    app = lameduck.asgi(Starlette(routes=[Route("/", lambda _: PlainTextResponse("ok"))]), grace=1, ready_path="/readyz")
    app.lameduck.on_close("pool", lambda: closed.append(1))
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    assert TestClient(app).get("/").text == "ok"
    assert TestClient(app).get("/readyz").status_code == 200
    assert app.lameduck._hold is None and app.lameduck.report is None

    for turn in (1, 2):
        with TestClient(app) as client:
            assert client.get("/").text == "ok"
            assert client.get("/readyz").status_code == 200
            assert app.lameduck.phase == "serving"
        assert closed == [1] * turn
        assert app.lameduck.report["cause_detail"] == "the server stopped by itself"
        assert [hook["name"] for hook in app.lameduck.report["hooks"]] == ["pool", "lifespan"]
        assert not app.lameduck._hold.owned
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    time.sleep(1.2)  # The deadline that a server would have had.


def test_a_wsgi_application_without_a_server():
    import lameduck
    from flask import Flask

    flask = Flask(__name__)
    flask.add_url_rule("/", view_func=lambda: "ok")
    app = lameduck.wsgi(flask, ready_path="/readyz")
    flask.wsgi_app = lameduck.wsgi(flask.wsgi_app, ready_path="/readyz")
    client = flask.test_client()
    assert client.get("/").text == "ok" and client.get("/readyz").status_code == 200
    assert app.lameduck._hold is None
