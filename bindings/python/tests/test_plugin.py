"""The pytest plugin, as the tests of a program use it: installed with the package, nothing to be imported."""

import asyncio
import math
import signal
import threading
import sys
import time

import lameduck
import pytest
from lameduck._lameduck import Exchange, Hold
from lameduck._virtual import Uncounted, VirtualHold


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


@pytest.mark.filterwarnings("error")
def test_a_whole_shutdown_in_virtual_time(lameduck_clock):
    """Of 30 s: window to 5 s, jobs are cancelled at 23 s, drain deadline at 24 s, close hooks to 28 s, T at 29 s."""
    said = []
    app = lameduck.asgi(application, grace=30)
    duck = app.lameduck

    async def main():
        async with lameduck_clock(app, patience=5) as clock:

            def say(what):
                said.append((what, duck.phase, round(clock.elapsed, 1)))

            async def slowly(what, seconds):
                await clock.sleep(seconds)
                say(what)

            async def work(name, fn):
                try:
                    async with fn(name) as entered:
                        await asyncio.Event().wait()
                except asyncio.CancelledError:
                    say(f"{name} cancelled")
                    assert getattr(entered, "cancelled", True)

            duck.on_drain("deregister", lambda: slowly("deregister", 2))
            duck.on_close("pool", lambda: slowly("pool", 1))
            duck.on_close("hangs", lambda: clock.sleep(600), order=1)
            duck.on_flush("logs", lambda: say("logs"))
            tasks = [asyncio.create_task(work(*it)) for it in (("mail", duck.job), ("GET /slow", duck.request))]
            await clock.advance(10)
            assert (duck.phase, duck.ready, said) == ("serving", True, [])
            duck.shutdown("terminate")
            await clock.advance(4.9)
            assert (duck.phase, duck.ready, duck.stop_notice.is_set()) == ("draining", False, False)
            await clock.advance(0.3)
            assert duck.stop_notice.is_set() and said == [("deregister", "draining", 12.0)]
            await clock.advance(17.7)
            assert duck.blockers()["jobs"] == duck.blockers()["requests"] == 1
        await asyncio.gather(*tasks)

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 4, "nobody's patience was asked for"
    assert said == [
        ("deregister", "draining", 12.0),
        ("mail cancelled", "draining", 33.0),
        ("GET /slow cancelled", "closing", 34.0),
        ("pool", "closing", 35.0),
        ("logs", "closing", 38.0),
    ]
    report = duck.report
    results = {hook["name"]: (hook["result"], hook.get("took_ms")) for hook in report["hooks"]}
    assert results["deregister"] == ("ok", 2_000) and results["pool"] == ("ok", 1_000)
    assert results["hangs"] == ("timed_out", 3_000) and results["logs"][0] == "ok"
    assert (report["cause"], report["exit_code"], report["jobs"]["aborted"]) == ("terminate", 1, 1)
    assert report["forced"][0]["label"] == "GET /slow"


def test_virtual_time_again_and_again(lameduck_clock):
    """Of every kind of application; a hook in a thread is waited for in real time."""

    async def run(app, duck, seconds):
        held = threading.Event()
        async with lameduck_clock(app, patience=10) as clock:
            duck.on_close("thread", lambda: held.wait(5))
            asyncio.get_running_loop().call_later(0.1, held.set)
            if seconds is not None:
                duck.shutdown()
                await clock.advance(seconds)
                assert duck.phase == "done"
        assert duck.report["hooks"][-1 if duck is app else 0]["result"] == "ok"
        return duck.report["took_ms"]

    for app in (lameduck.asgi(application), lameduck.wsgi(lambda environ, start: [b""]), lameduck.Lameduck()):
        duck = getattr(app, "lameduck", app)
        for seconds, took in ((5.2, 5_100), (None, 0)):
            duck._hooks.clear()
            assert asyncio.run(run(app, duck, seconds)) == took


def test_requests_are_served_in_virtual_time(lameduck_clock, lameduck_drain):
    """And the application is what it was afterwards."""

    async def hello(scope, receive, send):
        if scope["type"] == "lifespan":
            return await application(scope, receive, send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    app = lameduck.asgi(hello, ready_path="/readyz")

    async def ask(path):
        sent = []

        async def send(message):
            sent.append(message)

        await app({"type": "http", "method": "GET", "path": path}, None, send)
        return sent[0]["status"]

    async def main():
        async with lameduck_clock(app) as clock:
            assert (await ask("/"), await ask("/readyz")) == (200, 200)
            app.lameduck.shutdown()
            await clock.advance(3)
            assert (await ask("/"), await ask("/readyz")) == (200, 503)

    asyncio.run(main())
    assert app.lameduck.report["took_ms"] == 5_100 and app.lameduck.report["requests"]["completed"] == 0
    assert lameduck_drain(app)["cause_detail"] == "the server stopped by itself"


def test_what_virtual_time_leaves_out():
    """The rest of a hold is there, also of one that learns more."""
    left_out = {name for name in dir(Hold) if not name.startswith("_")} - set(dir(VirtualHold))
    assert left_out == {"beat", "handed_over", "next_effects", "owned", "ways"}
    coroutine = {"close", "cr_await", "cr_code", "cr_frame", "cr_running", "cr_suspended", "send", "throw"}
    left_out = {name for name in dir(Exchange) if not name.startswith("_")} - set(dir(Uncounted("", ""))) - coroutine
    assert left_out == {"cut_short", "note_start", "refuse_by"}


def test_virtual_time_that_cannot_go_on(lameduck_clock):
    app = lameduck.asgi(application, grace=math.inf)

    async def hangs():
        app.lameduck.on_close("hangs", asyncio.Event().wait)
        async with lameduck_clock(app, patience=0.1) as clock:
            with pytest.raises(RuntimeError, match="has started already; one clock at a time"):
                await lameduck_clock(app).__aenter__()
            with pytest.raises(ValueError, match=r"advance\(\) is -1; it must be a number of seconds, zero or more"):
                await clock.advance(-1)
            with pytest.raises(ValueError, match=r"sleep\(\) is infinite"):
                await clock.sleep(math.inf)

    with pytest.raises(RuntimeError, match="nothing ends this without a deadline: .*'hangs'"):
        asyncio.run(hangs())
    assert app.lameduck.phase == "serving", "it can be started again"
    with pytest.raises(TypeError, match="or a Lameduck, not 3"):
        lameduck_clock(3)
