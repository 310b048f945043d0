"""Unmodified servers, stopped under load with lameduck around the application: nobody's request is lost."""

import os
import signal
import time
from pathlib import Path

import pytest
import races


@pytest.mark.parametrize("name", races.SERVERS)
def test_no_request_is_lost(name):
    assert not list(races.faults(name, None, races.stop(name, "wrapped")))


def children(process):
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            command = stat.with_name("cmdline").read_text()
        except OSError:
            continue
        if parent == process and "spawn_main" in command:
            found[int(stat.parent.name)] = command
    return sorted(found)


WORKERS = """
import lameduck, answers, os

async def application(scope, receive, send):
    assert scope["type"] == "http"
    await answers.text(send, b"%d" % os.getpid())

app = lameduck.asgi(application, grace=5, window=0.3)
"""


def test_one_worker_that_is_stopped_alone_fences_nobody_out(serve):
    """uvicorn's supervisor starts another in its place, from the same listener."""
    server = serve(WORKERS, "uvicorn app:app --port {port} --log-level warning --workers 2", LAMEDUCK_TEST_VERBOSE="1")
    server.await_text("policy:", times=2)
    first, second = children(server.process.pid)
    os.kill(first, signal.SIGTERM)
    server.await_text("not fenced: others go on accepting")
    limit = time.monotonic() + 15
    answered = set()
    while len(answered - {first}) < 2:
        assert time.monotonic() < limit, (answered, first, server.text)
        begun = time.monotonic()
        try:
            answered.add(int(server.get("/").body))
        except (AssertionError, OSError):
            pass  # The one that stops took it: without a fence its last moment is the best that can be had.
        assert time.monotonic() - begun < 0.9, "a handshake that is dropped is repeated after a second"
    assert second in answered
    server.stop()


def test_clients_are_not_all_told_at_once(serve):
    server = serve(WORKERS.replace("window=0.3", "window=4, seed=5"))
    clients = [server.connect() for _ in range(40)]
    server.signal()
    time.sleep(1)
    told = [client.send("/").answer().headers.get("connection") == "close" for client in clients]
    assert 5 < sum(told) < 35, "half of the first half has passed"
    server.signal(signal.SIGINT)
    server.end()
