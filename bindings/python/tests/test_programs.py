"""Programs that are no ASGI or WSGI server: `with Lameduck()`, jobs, forks."""

import json
import os
import signal
import time

import pytest


def test_async_with(run):
    status, out, err, took = run(
        """
        async def main():
            async with lameduck.Lameduck(grace=5, window=0.3) as duck:
                duck.on_close("pool", lambda: print("closed"))
                print("ready")
                await duck.drain_notice
                print("draining", duck.phase, duck.ready)
                await duck.stop_notice
                print("stop")
            print(duck.phase, json.dumps(duck.report["hooks"]))
            os.kill(os.getpid(), signal.SIGTERM)
        asyncio.run(main())
        """
    )
    assert out.splitlines()[:3] == ["draining draining False", "stop", "closed"]
    assert '"result": "ok"' in out and "done" in out
    assert status == -signal.SIGTERM, "afterwards the signal is its own again"
    assert 0.3 < took < 4


def test_with(run):
    status, out, err, took = run(
        """
        with lameduck.Lameduck(grace=5, window=0.3) as duck:
            duck.on_close("pool", lambda: print("closed"))
            print("ready")
            duck.stop_notice.wait()
            print("stop")
        print(duck.report["cause"])
        """
    )
    assert (status, out) == (0, "stop\nclosed\nterminate\n")
    assert 0.3 < took < 4


def test_shutdown_is_asked_for_by_the_program(run):
    status, out, err, took = run(
        """
        with lameduck.Lameduck(grace=5, window=0.2) as duck:
            print("ready")
            duck.shutdown(cause="a new release")
            duck.shutdown(cause="again")
            assert duck.stop_notice.wait(3)
        print(duck.report["cause"], duck.report["cause_detail"], sep=", ")
        """,
        None,
    )
    assert (status, out) == (0, "programmatic, a new release\n"), err


def test_an_exception_in_the_block_is_the_cause(run):
    status, out, err, took = run(
        """
        try:
            with lameduck.Lameduck(grace=5) as duck:
                print("ready")
                raise OSError("no such bucket")
        except OSError:
            print(duck.report["cause"], duck.report["cause_detail"], duck.report["exit_code"], sep=", ")
        """,
        None,
    )
    assert (status, out) == (0, "uncaught_exception, OSError: no such bucket, 1\n"), err
    assert took < 3, "there is no window"


def test_jobs_are_waited_for_and_cancelled_in_the_end(run):
    status, out, err, took = run(
        """
        async def main():
            async with lameduck.Lameduck(grace=3, window=0, margin=0.5, reserve=0.5, abort_lead=0.5) as duck:
                async def short():
                    async with duck.job("short"):
                        await asyncio.sleep(0.3)
                async def endless():
                    try:
                        async with duck.job("endless") as job:
                            await asyncio.sleep(60)
                    except asyncio.CancelledError:
                        print("cancelled", job.cancelled)
                tasks = [asyncio.create_task(short()), asyncio.create_task(endless())]
                await asyncio.sleep(0)
                print("ready")
                await duck.stop_notice
                print(duck.blockers()["oldest"][0]["name"])
            print(json.dumps(duck.report["jobs"]))
        asyncio.run(main())
        """
    )
    assert status == 0, err
    assert out.splitlines()[0] in ("endless", "short") and "cancelled True" in out
    jobs = json.loads(out.splitlines()[-1])
    assert {outcome: count for outcome, count in jobs.items() if count} == {"completed": 1, "aborted": 1}
    assert 1.3 < took < 4


def test_a_forked_child_gets_a_clear_error_and_its_own_signals(run):
    status, out, err, took = run(
        """
        with lameduck.Lameduck(grace=5, window=0.2) as duck:
            child = os.fork()
            if child == 0:
                try:
                    duck.shutdown()
                except RuntimeError as error:
                    print(error, flush=True)
                signal.signal(signal.SIGTERM, lambda *_: os._exit(9))
                print("child", flush=True)
                time.sleep(20)
                os._exit(1)
            time.sleep(0.5)
            os.kill(child, signal.SIGTERM)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            duck.shutdown()
            duck.stop_notice.wait()
        """.replace("        with", "        print('ready')\n        with", 1),
        None,
    )
    assert "does not work in its forked child" in out and "make one there, after the fork" in out
    assert out.splitlines()[-1] == "9", out + err
    assert status == 0


def test_hooks_of_a_preloaded_application_run_in_each_child(run):
    """What was registered before the fork belongs to every process that starts after it."""
    status, out, err, took = run(
        """
        duck = lameduck.Lameduck(grace=5, window=0)
        duck.on_close("pool", lambda: print("closed in", os.getpid() != parent, flush=True))
        parent = os.getpid()
        child = os.fork()
        with duck:
            if child == 0:
                duck.shutdown()
            else:
                print("ready", flush=True)
                os.waitpid(child, 0)
            duck.stop_notice.wait()
        """
    )
    assert status == 0, err
    assert sorted(out.splitlines()) == ["closed in False", "closed in True"]


def test_requests_of_a_server_of_its_own(run):
    status, out, err, took = run(
        """
        async def main():
            async with lameduck.Lameduck(grace=3, window=0.2, margin=0.5, reserve=0.5) as duck:
                async def answer(label, seconds):
                    try:
                        async with duck.request(label, peer="ipv4:10.0.0.1:80"):
                            await asyncio.sleep(seconds)
                    except asyncio.CancelledError:
                        print("cancelled", label)
                tasks = [asyncio.create_task(answer("quick", 0.5)), asyncio.create_task(answer("endless", 60))]
                await asyncio.sleep(0)
                assert duck.blockers()["requests"] == 2
                print("ready")
                await duck.stop_notice
                await asyncio.gather(*tasks)
            print(json.dumps(duck.report))
        asyncio.run(main())
        """
    )
    assert status == 0, err
    assert out.splitlines()[0] == "cancelled endless"
    report = json.loads(out.splitlines()[1])
    assert (report["requests"]["completed"], report["requests"]["forced"]) == (1, 1)
    assert (report["forced"][0]["label"], report["forced"][0]["peer"]) == ("endless", "ipv4:10.0.0.1:80")
    assert 1.9 < took < 4


def test_jobs_while_draining(run):
    status, out, err, took = run(
        """
        async def main():
            async with lameduck.Lameduck(grace=5, window=0.3) as duck:
                async def nuisance():
                    async with duck.job("nuisance", on_drain="cancel"):
                        await asyncio.sleep(60)
                task = asyncio.create_task(nuisance())
                await asyncio.sleep(0)
                print("ready")
                await duck.drain_notice
                try:
                    with duck.job("late"):
                        pass
                except RuntimeError as error:
                    print(error)
                await duck.stop_notice
            print(json.dumps(duck.report["jobs"]), duck.report["exit_code"])
        asyncio.run(main())
        """
    )
    assert status == 0, err
    refused, jobs = out.splitlines()
    assert refused == "lameduck: job 'late' was refused: the process is draining and takes only jobs that a request begins"
    assert '"cancelled": 1' in jobs and jobs.endswith(" 0")
    with pytest.raises(ValueError, match="on_drain of job 'x' is 'wait' or 'cancel', not 'stop'"):
        __import__("lameduck").Lameduck().job("x", on_drain="stop")
