"""The window: the server serves on, readiness fails, responses say that the connection closes."""

import os
import signal
import time

import pytest
from conftest import UVICORN, marks

PLAIN = """
import lameduck, asyncio, answers

async def application(scope, receive, send):
    assert scope["type"] == "http"
    await answers.text(send)

async def check():
    await asyncio.sleep(0)

app = lameduck.asgi(application, live_path="/livez", ready_path="/readyz", checks={"database": check}, OPTIONS)
"""


def test_probes_and_announcements(serve):
    server = serve(PLAIN.replace("OPTIONS", "grace=10, window=1, seed=3"))
    ready = server.get("/readyz")
    assert (ready.status, ready.body) == (200, b'{"status": "ok", "phase": "serving", "checks": {"database": "ok"}}')
    assert "connection" not in server.get("/").headers
    kept = server.connect()
    assert kept.send("/").answer().status == 200
    server.signal()
    time.sleep(0.6)  # The second half, in which every response announces.
    ready = server.get("/readyz")
    assert (ready.status, ready.body) == (503, b'{"status": "unavailable", "phase": "draining"}')
    assert server.get("/livez").status == 200
    answer = kept.send("/").answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert kept.has_ended()
    assert server.end() == -signal.SIGTERM
    assert 1 < server.took < 4
    assert server.report["requests"]["admitted"] == 1


OWN_HEADER = """
import lameduck

async def application(scope, receive, send):
    assert scope["type"] == "http"
    headers = [(b"content-length", b"2"), (b"Connection", b"keep-alive")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})

app = lameduck.asgi(application, window=1)
"""
WSGI = """
import lameduck

def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

app = lameduck.wsgi(application, window=1)
"""
GTHREAD = "gunicorn -c python:lameduck.gunicorn --worker-class gthread --bind 127.0.0.1:{port} --log-level warning app:app"
GRANIAN = "granian app:app --interface wsgi --port {port} --log-level warning"


@pytest.mark.parametrize(
    ("source", "command"),
    [(OWN_HEADER, UVICORN), (WSGI, GTHREAD), (WSGI, GRANIAN)],
    ids=["over a header of the application's own", "gunicorn", "granian"],
)
def test_the_second_half_announces_to_all(serve, source, command):
    server = serve(source, command)
    kept = server.connect()
    assert kept.send("/").answer().headers.get("connection") != "close"
    server.signal()
    time.sleep(0.7)
    assert kept.send("/").answer().headers["connection"] == "close"
    assert kept.has_ended()
    server.end()


def test_new_requests_are_refused_if_so_wanted(serve):
    server = serve(PLAIN.replace("OPTIONS", "window=0.5, new_requests='refuse'"))
    server.signal()
    time.sleep(0.2)
    answer = server.get("/")
    assert (answer.status, answer.headers["connection"]) == (503, "close")
    server.end()
    assert server.report["requests"]["refused"] == 1
    assert server.report["lost"] == []


def test_readiness_is_kept_if_so_wanted(serve):
    server = serve(PLAIN.replace("OPTIONS", "window=0.5, readiness='keep'"))
    server.signal()
    time.sleep(0.2)
    assert server.get("/readyz").status == 200
    server.end()


def test_a_check_that_fails(serve):
    source = PLAIN.replace("await asyncio.sleep(0)", "raise OSError('password in here')").replace("OPTIONS", "")
    server = serve(source)
    ready = server.get("/readyz")
    assert (ready.status, ready.body) == (503, b'{"status": "unavailable", "phase": "serving", "checks": {"database": "failed"}}')


def test_two_interrupts_end_the_window_at_once(serve):
    server = serve(PLAIN.replace("OPTIONS", "grace=20, window=8"))
    server.signal()
    time.sleep(0.2)
    server.signal(signal.SIGINT)
    server.end()
    assert server.took < 4
    assert "escalated" in marks(server.report)


def test_at_a_terminal_nobody_waits(serve):
    ours, theirs = os.openpty()
    server = serve(PLAIN.replace("OPTIONS", ""), stdin=theirs)
    assert server.get("/").status == 200
    server.stop(signal.SIGINT)
    assert server.took < 4
    assert server.report["cause"] == "interrupt"
    os.close(ours)
    os.close(theirs)


def test_half_a_character_in_a_path_costs_nobody_anything(serve):
    server = serve(
        """
        import asyncio, lameduck, answers

        async def application(scope, receive, send):
            assert scope["type"] == "http"
            await asyncio.sleep(0.3)
            await answers.text(send)

        async def lenient(scope, receive, send):  # as a server that decodes with surrogateescape
            if scope["type"] == "http":
                scope = {**scope, "path": "/\\udcff"}
            await app(scope, receive, send)

        app = lameduck.asgi(application, window=1)
        """,
        UVICORN.replace("app:app", "app:lenient"),
    )
    first = server.connect().send("/")
    time.sleep(0.1)
    server.signal()
    time.sleep(0.1)
    assert server.get("/").status == 200 and first.answer().status == 200
    server.end()
    assert server.report["requests"]["completed"] == 2


def test_the_environment_beats_the_code(serve):
    server = serve(PLAIN.replace("OPTIONS", "window=8"), LAMEDUCK_WINDOW="0.2")
    server.stop()
    assert server.took < 4
    assert {"name": "window", "ms": 200, "origin": "environment"} in server.report["policy"]


def test_without_lifespan_the_first_request_starts_it(serve):
    server = serve(PLAIN.replace("OPTIONS", "window=0.3"), UVICORN + " --lifespan off", LAMEDUCK_TEST_VERBOSE="1")
    assert server.get("/").status == 200
    assert "turn the lifespan on" in server.text
    assert server.stop() == -signal.SIGTERM
    assert 0.3 < server.took < 4


def test_a_server_that_stops_by_itself_runs_its_hooks(serve):
    server = serve(PLAIN.replace("OPTIONS", "window=5"), UVICORN + " --limit-max-requests 1", LAMEDUCK_TEST_VERBOSE="1")
    assert server.get("/").status == 200
    assert server.end() == 0
    assert marks(server.report)[-1] == "done"
    assert server.report["cause"] == "programmatic"
    assert "stopping: the server stopped by itself (programmatic); 0 requests" in server.text
    assert "somebody is developing" not in server.text
