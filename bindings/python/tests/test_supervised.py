"""What stands above the server: systemd is told; a parent that replaces its workers is no parent that ends."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import UVICORN

SOURCE = """
import asyncio, lameduck, answers, os

async def application(scope, receive, send):
    assert scope["type"] == "http"
    await asyncio.sleep(0.7 if scope["path"] == "/slow" else 0)
    await answers.text(send, b"%d" % os.getpid())

app = lameduck.asgi(application, grace=10, window=0.3)
"""
SLOW_TO_LISTEN = """
import lameduck, os, socket, time

with lameduck.Lameduck(grace=5, window=0) as duck:
    time.sleep(0.3)
    print("listening", flush=True)
    with socket.create_server(("127.0.0.1", int(os.environ["PORT"]))):
        duck.stop_notice.wait()
"""


@pytest.fixture
def manager(tmp_path):
    """systemd's end of its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(10)
        yield receiver


def heard(manager, last):
    lines = []
    while last not in lines:
        lines += manager.recv(65536).decode().splitlines()
    return lines


def test_systemd_hears_what_happens(serve, manager):
    server = serve(SOURCE, NOTIFY_SOCKET=manager.getsockname())
    assert heard(manager, "READY=1")[0] == "READY=1"
    slow = server.connect().send("/slow")
    time.sleep(0.2)
    server.signal()
    assert slow.answer().status == 200
    lines = heard(manager, "STATUS=done, nothing was lost")
    at = {line.split(":")[0].split("=")[0] + "=" + line.split("=")[1].split(":")[0]: n for n, line in enumerate(lines)}
    assert any(line.startswith("STATUS=draining, still accepting: 1 request") for line in lines), lines
    assert [line for line in lines if line.startswith("EXTEND_TIMEOUT_USEC=")], lines
    assert at["STATUS=draining, still accepting"] < at["STOPPING=1"], "serving is not stopping"
    server.end()


def test_ready_is_not_said_before_it_listens(serve, manager):
    server = serve(SLOW_TO_LISTEN, "python app.py", NOTIFY_SOCKET=manager.getsockname())
    assert heard(manager, "READY=1")[0] == "READY=1" and "listening" in server.text
    server.stop()


def test_systemd_hears_nothing_of_workers(serve, manager):
    command = "gunicorn --worker-class uvicorn.workers.UvicornWorker --bind 127.0.0.1:{port} --log-level warning app:app"
    server = serve(SOURCE, command, NOTIFY_SOCKET=manager.getsockname(), LAMEDUCK_TEST_VERBOSE="1")
    server.await_text("policy:")
    server.stop()
    manager.setblocking(False)
    said = b""
    try:
        while True:
            said += manager.recv(65536)
    except BlockingIOError:
        pass
    assert said.count(b"READY=1") <= 1 and b"EXTEND_TIMEOUT" not in said, said
    assert "handed over" in str(server.report["timeline"])


def test_a_systemd_that_is_not_there_costs_one_warning(serve):
    server = serve(SOURCE, NOTIFY_SOCKET="/nowhere/at/all", LAMEDUCK_TEST_VERBOSE="1")
    server.stop()
    assert server.text.count("the service manager does not hear us at '/nowhere/at/all'") == 1
    assert server.report["lost"] == []


def test_a_program_without_a_listener_says_when_it_is_ready(manager, tmp_path):
    source = "import lameduck\nwith lameduck.Lameduck(grace=5, window=0) as duck:\n    duck.serves()\n    duck.stop_notice.wait()"
    environment = {**os.environ, "NOTIFY_SOCKET": manager.getsockname()}
    program = subprocess.Popen([sys.executable, "-c", source], cwd=tmp_path, env=environment)
    assert heard(manager, "READY=1")[0] == "READY=1"
    program.terminate()
    assert heard(manager, "STATUS=done, nothing was lost")
    assert program.wait(10) == 0


REPLACING = {
    "hypercorn": "hypercorn app:app --bind 127.0.0.1:{port} --log-level WARNING",
    "uvicorn": UVICORN + " --workers 2",
    "gunicorn": "gunicorn --worker-class uvicorn.workers.UvicornWorker --bind 127.0.0.1:{port} --log-level warning app:app",
}


@pytest.mark.parametrize("name", REPLACING)
def test_workers_that_are_replaced_fence_nobody_out(serve, name):
    """SIGHUP: the parent keeps the listener for those that come after."""
    workers = 2 if name == "uvicorn" else 1
    server = serve(SOURCE, REPLACING[name], LAMEDUCK_TEST_VERBOSE="1")
    server.await_text("policy:", times=workers)
    before = server.get("/").body
    server.signal(signal.SIGHUP)
    server.await_text("not fenced: others go on accepting", times=workers)
    server.await_text("policy:", times=2 * workers)
    limit, answer = time.monotonic() + 15, before
    # gunicorn starts the new one first.
    while answer == before:
        begun = time.monotonic()
        answer = server.get("/").body
        assert time.monotonic() - begun < 0.9, "a handshake that a fence dropped is repeated after a second"
        assert begun < limit
    assert "fenced, new connections" not in server.text
    server.stop()
    assert len(server.reports) == 2 * workers and not any(report["lost"] for report in server.reports)
