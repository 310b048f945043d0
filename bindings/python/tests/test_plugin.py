"""The pytest plugin, as the tests of a program use it: installed with the package, nothing to be imported."""

import asyncio
import signal
import sys
import time

import lameduck
import pytest


async def application(scope, receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def test_asgi(lameduck_drain):
    said = []
    app = lameduck.asgi(application, grace=1)
    app.lameduck.on_drain("deregister", lambda: said.append("deregistered"))
    app.lameduck.on_close("pool", lambda: 1 / 0)

    async def during():
        said.append(app.lameduck.phase)

    for _ in range(2):
        report = lameduck_drain(app, during)
        results = {hook["name"]: hook["result"] for hook in report["hooks"]}
        assert results == {"deregister": "ok", "pool": "failed", "lifespan": "ok"}
        assert report["exit_code"] == 1 and "ZeroDivisionError" in report["hooks"][1]["error"]
    assert said == ["serving", "deregistered"] * 2


def test_wsgi(lameduck_drain):
    app = lameduck.wsgi(lambda environ, start_response: [b""], reserve=0.4, grace=2)
    app.lameduck.on_close("hangs", lambda: time.sleep(60), timeout=0.1)
    app.lameduck.on_flush("logs", lambda: asyncio.sleep(0))
    report = lameduck_drain(app)
    assert [hook["result"] for hook in report["hooks"]] == ["timed_out", "ok"]


def test_what_does_not_start(lameduck_drain):
    async def broken(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="the application did not start: no database"):
        lameduck_drain(lameduck.asgi(broken))
    with pytest.raises(TypeError, match=r"takes what lameduck.asgi\(\) or lameduck.wsgi\(\) made, not 3"):
        lameduck_drain(3)


SERVED = """
import lameduck

async def application(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200 if scope["path"] == "/here" else 404, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

app = WRAPPED
"""


def test_sigterm_under_load(lameduck_stop, tmp_path):
    (tmp_path / "main.py").write_text(SERVED.replace("WRAPPED", "lameduck.asgi(application)"))
    command = [sys.executable, "-m", "uvicorn", "main:app", "--port", "{port}", "--log-level", "warning"]
    stopped = lameduck_stop(command, path="/here", seconds=0.5, cwd=tmp_path, env={"LAMEDUCK_WINDOW": "0.4"})
    assert (stopped.lost, stopped.status, stopped.reasons) == (0, -signal.SIGTERM, {})
    assert stopped.answered > 100 and 0.4 < stopped.took < 5
    (report,) = stopped.reports
    assert report["cause"] == "terminate" and report["lost"] == []


def test_sigterm_under_load_counts_what_is_lost(lameduck_stop, tmp_path):
    (tmp_path / "main.py").write_text(SERVED.replace("WRAPPED", "application"))
    command = f"{sys.executable} -m hypercorn main:app --bind 127.0.0.1:{{port}} --log-level WARNING"
    stopped = lameduck_stop(command, path="/here", seconds=0.5, cwd=tmp_path)
    assert stopped.lost > 0 and sum(stopped.reasons.values()) == stopped.lost and stopped.reports == []
    with pytest.raises(ValueError, match="takes the command of a server"):
        lameduck_stop("")
