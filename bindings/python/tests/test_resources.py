"""`use()`: what it takes, when it closes it, and what it refuses. With real clients of real databases: tests/resources."""

import asyncio
import contextlib
import threading

import lameduck
import pytest
from starlette.applications import Starlette
from test_plugin import application


class Client:
    def __init__(self, said):
        self.said = said

    def note(self, what):
        self.said.append((type(self).__name__, what, threading.current_thread() is threading.main_thread()))


class Both(Client):
    async def aclose(self):
        self.note("aclose")

    def close(self):
        raise AssertionError("deprecated")


class Waits(Client):
    async def close(self):
        self.note("close")


class Blocks(Client):
    def close(self):
        self.note("close")


class Engine(Client):
    def dispose(self):
        self.note("dispose")


class AnyName(Client):
    """As clients of MongoDB, which take any name for that of a database."""

    def __getattr__(self, name):
        return lambda: self.note(name)

    def close(self):
        self.note("close")


def test_each_is_closed_in_its_own_way(lameduck_drain):
    said = []
    app = lameduck.asgi(application, grace=3)
    for order, kind in enumerate([Both, Waits, Blocks, Engine, AnyName]):
        client = kind(said)
        assert app.lameduck.use(client, order=order) is client
    app.lameduck.use(Waits(said), name="orders", order=5, timeout=1)

    async def during():
        assert said == []

    report = lameduck_drain(app, during)
    # What is async is closed in the event loop, what blocks is not.
    assert said == [
        ("Both", "aclose", True), ("Waits", "close", True), ("Blocks", "close", False), ("Engine", "dispose", False),
        ("AnyName", "close", False), ("Waits", "close", True),
    ]  # fmt: skip
    names = [f"test_resources.{name}" for name in ("Both", "Waits", "Blocks", "Engine", "AnyName")]
    hooks = [(hook["name"], hook["stage"], hook["result"]) for hook in report["hooks"]]
    assert hooks == [(name, "close", "ok") for name in [*names, "orders", "lifespan"]]


def test_what_the_program_opened_itself(lameduck_drain):
    said = []
    app = lameduck.asgi(application, grace=3)
    stack = app.lameduck.use(contextlib.AsyncExitStack())
    stack.callback(said.append, "closed")
    assert lameduck_drain(app)["hooks"][0]["name"] == "contextlib.AsyncExitStack"
    assert said == ["closed"]


def test_of_a_wsgi_application(lameduck_drain):
    said = []
    app = lameduck.wsgi(lambda environ, start_response: [b""], grace=3)
    app.lameduck.use(Engine(said))
    assert [hook["result"] for hook in lameduck_drain(app)["hooks"]] == ["ok"]
    assert said == [("Engine", "dispose", False)]


def test_what_the_applications_lifespan_takes_it_takes_each_time(lameduck_drain):
    said, noticed = [], []

    @contextlib.asynccontextmanager
    async def lifespan(_):
        app.lameduck.use(Waits(said))
        noticed.append(app.lameduck.drain_notice.is_set())
        if len(noticed) == 2:
            raise ConnectionError("no database")
        yield

    app = lameduck.asgi(Starlette(lifespan=lifespan), grace=3)
    app.lameduck.use(Engine(said))
    for turn in range(4):
        said.clear()
        if turn == 1:
            with pytest.raises(RuntimeError, match="no database"):
                lameduck_drain(app)
            continue
        assert [hook["name"] for hook in lameduck_drain(app)["hooks"]] == ["test_resources.Engine", "test_resources.Waits", "lifespan"]
        assert sorted(said) == [("Engine", "dispose", False), ("Waits", "close", True)]
    assert noticed == [False] * 4


async def connect():
    return Waits([])


class Stub:
    """Of aio-pika, or so its module says."""

    def close(self): ...


Stub.__module__ = "aio_pika.channel"


class Derived(Stub): ...


@pytest.mark.parametrize(
    "client, sentence",
    [
        (None, r"takes a pool or client, known by its method aclose\(\), close\(\) or dispose\(\), not None; for anything else"),
        ("postgresql://user:secret@db", r"not 'str'; for anything else there are on_drain\(\) and on_close\(\)"),
        (Waits([]).close, "not 'method'; for anything else"),
        (Waits, "not the class Waits; for anything else"),
        (Stub(), r"of aio-pika use\(\) takes what connect\(\) or connect_robust\(\) returned, whose channels are closed with it, not 'Stub'"),
        (Derived(), "not 'Derived'"),
    ],
)
def test_what_is_no_client_is_refused(client, sentence, lameduck_drain):
    app = lameduck.asgi(application, grace=1)
    with pytest.raises(TypeError, match=sentence):
        app.lameduck.use(client)
    assert [hook["name"] for hook in lameduck_drain(app)["hooks"]] == ["lifespan"]


def test_a_coroutine_is_refused():
    coroutine = connect()
    with pytest.raises(TypeError, match=r"use\(\) was given a coroutine: await it, and take what it returns"):
        lameduck.asgi(application).lameduck.use(coroutine)
    coroutine.close()


def test_wrong_arguments_change_nothing(lameduck_drain):
    app = lameduck.asgi(application, grace=1)
    for wrong, error in [({"name": ""}, "needs a name"), ({"order": "1"}, "whole number"), ({"timeout": "1"}, "number of seconds")]:
        with pytest.raises(TypeError, match=error):
            app.lameduck.use(Waits([]), **wrong)
    assert [hook["name"] for hook in lameduck_drain(app)["hooks"]] == ["lifespan"]


def test_a_client_that_comes_too_late_is_refused(lameduck_drain):
    app = lameduck.asgi(application, grace=1)

    @app.lameduck.on_flush("late")
    async def late():
        with pytest.raises(RuntimeError, match="close hook 'orders' comes too late: the process is closing; register it at start"):
            app.lameduck.use(Waits([]), name="orders")
        await asyncio.sleep(0)

    assert [hook["result"] for hook in lameduck_drain(app)["hooks"]] == ["ok", "ok"]
