"""Many threads at once, across the hand-over: every request is counted once, and no object is used by two at a time."""

import asyncio
import subprocess
import sys
import threading
import time

import lameduck
import pytest
from conftest import FREE_THREADED

THREADS = 8


async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def ask_asgi(app):
    scope = {"type": "http", "method": "GET", "path": "/", "http_version": "1.1", "client": ("127.0.0.1", 5)}
    sent = []

    async def send(message):
        sent.append(message["type"])

    asyncio.run(app(scope, None, send))
    assert sent == ["http.response.start", "http.response.body"]


def ask_wsgi(app):
    body = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "REMOTE_ADDR": "127.0.0.1"}, lambda *_: None)
    assert list(body) == [b"ok"]
    body.close()


def use_handle(app):
    duck = app.lameduck
    with duck.request("thread"):
        duck.blockers()
    duck.metrics()


@pytest.mark.parametrize(
    ("make", "ask"),
    [
        (lambda **policy: lameduck.asgi(application, **policy), ask_asgi),
        (lambda **policy: lameduck.wsgi(lambda environ, start: (start("200 OK", []), [b"ok"])[1], **policy), ask_wsgi),
        (lambda **policy: lameduck.wsgi(lambda environ, start: [b""], **policy), use_handle),
    ],
    ids=["ASGI", "WSGI", "the handle"],
)
def test_all_are_counted_once(make, ask):
    app = make(signals=[], window=0.3, grace=10)
    duck = app.lameduck
    hold = duck._start()
    served, failures, stop = [0] * THREADS, [], threading.Event()

    def run(number):
        try:
            while not stop.is_set():
                ask(app)
                served[number] += 1
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # Where there is a GIL, it changes hands all the time.
    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    try:
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        before = sum(served)
        duck.shutdown()
        assert duck.stop_notice.wait(20)
        stop.set()
        for thread in threads:
            thread.join(20)
    finally:
        sys.setswitchinterval(interval)
    duck._server_stopped()
    assert duck._done_notice.wait(20) and not failures, failures
    requests = duck.report["requests"]
    counted = requests["adopted"] + requests["admitted"]
    assert before > THREADS and 0 < counted <= sum(served) - before + THREADS
    assert requests["completed"] == counted and requests["in_flight"] == 0, requests
    assert hold.totals == (0, 0) and duck._in_flight() == [] and duck.report["lost"] == []
    duck._release()


@pytest.mark.skipif(not FREE_THREADED, reason="there is a GIL")
def test_the_extension_leaves_the_gil_off():
    said = subprocess.run([sys.executable, "-P", "-c", "import lameduck, sys; print(sys._is_gil_enabled())"], capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("False\n", "")
