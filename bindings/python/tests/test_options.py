"""What is wrong is refused at once, by a sentence that names it; nothing has changed then."""

import math

import lameduck
import pytest


async def application(scope, receive, send): ...


def wsgi_application(environ, start_response): ...


@pytest.mark.parametrize(
    ("option", "value", "kind", "sentence"),
    [
        ("graze", 30, TypeError, "lameduck: unknown option 'graze'; there are grace, window"),
        ("grace", "30s", TypeError, "lameduck: grace is a number of seconds such as 30 or 0.5, not '30s'"),
        ("grace", True, TypeError, "lameduck: grace is a number of seconds"),
        ("window", -1, ValueError, "lameduck: window is -1; it must be a number of seconds, zero or more"),
        ("quiet", math.nan, ValueError, "lameduck: quiet is nan; it must be"),
        ("window", math.inf, ValueError, "lameduck: window is infinite; only grace may be"),
        ("reserve", 40, ValueError, "lameduck: reserve 40s exceeds grace 30s − margin 0s"),
        ("new_requests", "drop", ValueError, "lameduck: new_requests is 'serve' or 'refuse', not 'drop'"),
        ("readiness", 1, TypeError, "lameduck: readiness is 'fail' or 'keep', not 1"),
        ("seed", -1, ValueError, "lameduck: seed is -1; it must be between 0 and 2**64 - 1"),
        ("seed", 1.5, TypeError, "lameduck: seed is a whole number, not 1.5"),
        ("signals", "SIGTERM", TypeError, "lameduck: signals is a list such as ['SIGTERM'], not 'SIGTERM'"),
        ("signals", ["SIGNONE"], ValueError, "lameduck: signals: 'SIGNONE' is no signal of this system"),
        ("signals", ["SIGKILL"], ValueError, "lameduck: signals: no process can catch SIGKILL; leave it out"),
        ("signals", [None], TypeError, "lameduck: signals: None is no signal; write 'SIGTERM'"),
        ("ready_path", 3, TypeError, "lameduck: ready_path is a path such as '/readyz', not 3"),
        ("live_path", "livez", ValueError, "lameduck: live_path is 'livez'; a path begins with '/'"),
        ("checks", [print], TypeError, "lameduck: checks is a dict of names and functions"),
        ("checks", {"db": 1}, TypeError, "lameduck: checks['db'] is a function, not 1"),
        ("check_timeout", math.inf, ValueError, "lameduck: check_timeout is infinite; only grace may be"),
    ],
)
def test_option(option, value, kind, sentence):
    for make in (lambda **o: lameduck.asgi(application, **o), lambda **o: lameduck.wsgi(wsgi_application, **o), lameduck.Lameduck):
        with pytest.raises(kind) as refused:
            make(**{option: value})
        assert str(refused.value).startswith(sentence)


def test_environment(monkeypatch):
    monkeypatch.setenv("LAMEDUCK_WINDOW", "5s")
    with pytest.raises(ValueError, match="LAMEDUCK_WINDOW=5s is not a number of seconds"):
        lameduck.asgi(application)


def test_what_cannot_be_wrapped():
    with pytest.raises(TypeError, match="wrapped already; wrap it once, last"):
        lameduck.asgi(lameduck.asgi(application))
    with pytest.raises(TypeError, match="wrapped already"):
        lameduck.wsgi(lameduck.asgi(application))
    with pytest.raises(TypeError, match="takes scope, receive and send; 'main:app' is not callable"):
        lameduck.asgi("main:app")
    with pytest.raises(TypeError, match=r"takes \(environ, start_response\). For the other kind there is lameduck.wsgi\(\)"):
        lameduck.asgi(wsgi_application)
    with pytest.raises(TypeError, match=r"For the other kind there is lameduck.asgi\(\)"):
        lameduck.wsgi(application)


def test_hooks_and_jobs():
    duck = lameduck.Lameduck()
    with pytest.raises(TypeError, match="close hook 'pool' is a function, not 3"):
        duck.on_close("pool", 3)
    with pytest.raises(TypeError, match="a drain hook needs a name for the report, not ''"):
        duck.on_drain("", print)
    with pytest.raises(TypeError, match="order of flush hook 'logs' is a whole number, not 'first'"):
        duck.on_flush("logs", print, order="first")
    with pytest.raises(ValueError, match="order of flush hook 'logs' is 2147483648; it must fit 32 bits"):
        duck.on_flush("logs", print, order=2**31)
    with pytest.raises(ValueError, match="timeout of close hook 'pool' is -1"):
        duck.on_close("pool", print, timeout=-1)
    with pytest.raises(TypeError, match="a job needs a name"):
        duck.job(None)
    with pytest.raises(RuntimeError, match="the server has not started; there is nothing to shut down"):
        duck.shutdown()


def test_the_wrapper_is_the_application_to_whoever_asks():
    class Application:
        state = "its own"

        async def __call__(self, scope, receive, send): ...

    inner = Application()
    app = lameduck.asgi(inner)
    assert app.state == "its own"
    with pytest.raises(AttributeError):
        app.no_such_thing
    with pytest.raises(AttributeError):
        app.__rsgi__
    assert app.lameduck.phase == "serving" and not app.lameduck.ready and app.lameduck.report is None


def test_metrics_while_serving():
    text = lameduck.Lameduck().metrics()
    assert 'lameduck_phase{phase="serving"} 1' in text and text.endswith("\n")
    assert "# TYPE lameduck_shutdown_requests_total counter" in text
