"""What a server awaits for a request is a coroutine as far as others can see, though no Python of ours runs in it while serving."""

import asyncio
import collections.abc
import functools
import gc
import inspect
import sys
import threading
import traceback
import types
import warnings
import weakref

import anyio
import pytest

import lameduck
from lameduck._job import in_request


async def send(message): ...


def scope():
    return {"type": "http", "method": "GET", "path": "/", "headers": []}


class Served:
    """An application in its wrapper, as a server that has started calls it."""

    def __init__(self, app):
        self.app = lameduck.asgi(app, signals=[])
        self.hold = self.app.lameduck._start(asyncio.get_running_loop())

    def __call__(self):
        return self.app(scope(), None, send)

    @property
    def in_flight(self):
        return self.hold.totals[1]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        assert self.in_flight == 0
        self.hold.release()


def served(app):
    """Runs a test in an event loop, with this application being served."""

    def decorate(test):
        @functools.wraps(test)
        def run():
            async def main():
                with Served(app) as server:
                    await test(server)

            asyncio.run(main())

        # For pytest it takes nothing.
        del run.__wrapped__
        return run

    return decorate


async def nothing(scope, receive, send): ...


async def fails(scope, receive, send):
    raise LookupError("no such thing")


class Stays:
    """It waits for ever, keeps what ended that, and may go on then."""

    ended_by = None
    goes_on = False

    async def __call__(self, scope, receive, send):
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            Stays.ended_by = error
            if not Stays.goes_on:
                raise
            if Stays.goes_on != "to its end":
                await asyncio.sleep(0)


@served(nothing)
async def test_it_is_taken_for_a_coroutine(server):
    call = server()
    assert isinstance(call, collections.abc.Coroutine) and asyncio.iscoroutine(call) and inspect.isawaitable(call)
    assert await asyncio.create_task(call) is None
    assert await asyncio.ensure_future(server()) is None
    assert await asyncio.wait_for(server(), 1) is None
    async with anyio.create_task_group() as group:
        group.start_soon(server)


@served(nothing)
async def test_the_wrapper_is_taken_for_an_application(server):
    assert inspect.iscoroutinefunction(server.app.__call__)
    assert [*inspect.signature(server.app).parameters] == ["scope", "receive", "send"]
    assert await server.app.__call__(scope(), None, send) is None
    assert await server.app(scope=scope(), receive=None, send=send) is None
    with pytest.raises(TypeError):
        server.app(scope(), None)


@served(fails)
async def test_nothing_begins_before_it_is_awaited(server):
    with pytest.warns(RuntimeWarning, match="never awaited"):
        server()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call = server()
        call.close()
        with pytest.raises(RuntimeError, match="already awaited"):
            await call
        thrown = ValueError("another")
        with pytest.raises(ValueError) as raised:
            server().throw(thrown)
    assert raised.value is thrown and server.in_flight == 0
    call = server()
    with pytest.raises(TypeError, match="just-started"):
        call.send(1)
    call.close()


@served(nothing)
async def test_it_is_awaited_once(server):
    call = server()
    await call
    for again in (lambda: call.send(None), lambda: call.throw(ValueError()), lambda: next(call)):
        with pytest.raises(RuntimeError, match="already awaited"):
            again()
    assert call.close() is None


def test_it_cannot_be_driven_while_it_runs():
    async def drives_itself(scope, receive, send):
        assert call.cr_running
        call.send(None)

    async def main():
        nonlocal call
        with Served(drives_itself) as server:
            call = server()
            with pytest.raises(ValueError, match="already executing"):
                await call

    call = None
    asyncio.run(main())


@served(fails)
async def test_what_the_application_raises_is_raised(server):
    with pytest.raises(LookupError) as raised:
        await server()
    assert raised.value.__context__ is None and raised.value.__cause__ is None
    names = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert names[-1] == "fails" and names.count("fails") == 1


@served(Stays())
async def test_it_is_closed_while_it_waits(server):
    Stays.goes_on = False
    call = server()
    call.send(None)
    assert server.in_flight == 1
    call.close()
    assert isinstance(Stays.ended_by, GeneratorExit) and server.in_flight == 0
    Stays.goes_on = True
    call = server()
    call.send(None)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        call.close()


@served(Stays())
async def test_what_is_thrown_in_reaches_the_application(server):
    thrown, Stays.goes_on = ValueError("thrown"), False
    call = server()
    call.send(None)
    with pytest.raises(ValueError) as raised:
        call.throw(thrown)
    assert raised.value is thrown is Stays.ended_by and server.in_flight == 0
    Stays.goes_on = True
    call = server()
    call.send(None)
    assert call.throw(thrown) is None and server.in_flight == 1
    with pytest.raises(StopIteration):
        call.send(None)
    Stays.goes_on = "to its end"
    call = server()
    call.send(None)
    with pytest.raises(StopIteration):
        call.throw(thrown)


@served(Stays())
async def test_its_task_is_cancelled(server):
    for Stays.goes_on in (False, True):
        task = asyncio.create_task(server())
        await asyncio.sleep(0)
        assert server.in_flight == 1
        task.cancel()
        await asyncio.wait([task])
        assert (task.cancelled(), server.in_flight) == (not Stays.goes_on, 0)
        assert isinstance(Stays.ended_by, asyncio.CancelledError)


class Iterated:
    def __await__(self):
        yield from asyncio.sleep(0).__await__()


@types.coroutine
def generator(scope, receive, send):
    yield from asyncio.sleep(0).__await__()


@pytest.mark.parametrize(
    "app",
    [
        generator,
        functools.partial(nothing),
        lambda scope, receive, send: Iterated(),
        lambda scope, receive, send: asyncio.sleep(0),
        lambda scope, receive, send: asyncio.ensure_future(asyncio.sleep(0)),
    ],
)
def test_whatever_can_be_awaited_is(app):
    async def main():
        with Served(app) as server:
            assert await server() is None
            await asyncio.create_task(server())

    asyncio.run(main())


@served(lambda scope, receive, send: None)
async def test_what_cannot_be_awaited_is_said_to_the_server(server):
    with pytest.raises(TypeError, match="await"):
        await server()


async def asks_all(scope, receive, send):
    async def asks():
        return in_request.get()

    here = in_request.get(), await asyncio.create_task(asks()), await asyncio.to_thread(in_request.get)
    assert here == (True, True, True)


@served(asks_all)
async def test_what_runs_in_a_request_knows(server):
    await asyncio.create_task(server())
    # The task was made with a copy of the caller's context.
    assert not in_request.get()
    call = server()
    assert not in_request.get()
    await call


@served(Stays())
async def test_it_can_be_looked_into(server):
    task = asyncio.create_task(server())
    call = task.get_coro()
    assert (call.cr_frame, call.cr_suspended, call.cr_running) == (None, False, False)
    await asyncio.sleep(0)
    assert (call.cr_suspended, call.cr_running) == (True, False)
    # As if it were the coroutine of the application.
    assert [frame.f_code for frame in task.get_stack()] == [Stays.__call__.__code__] == [call.cr_code]
    assert call.cr_await.cr_code is asyncio.Event.wait.__code__
    assert "AsgiApp.__call__" in repr(task)
    task.cancel()
    Stays.goes_on = False
    await asyncio.wait([task])
    assert (call.cr_frame, call.cr_suspended) == (None, False)


class Kept(dict):
    """A scope that can be seen to go."""


async def waits(scope, receive, send):
    await asyncio.sleep(0)


async def keeps_its_send(scope, receive, send):
    scope["request"] = send
    await asyncio.sleep(0)


@pytest.mark.parametrize(("app", "by_the_collector"), [(waits, False), (keeps_its_send, True)])
def test_nothing_stays_of_it(app, by_the_collector):
    async def main():
        with Served(app) as server:
            asked = Kept(scope())
            seen = weakref.ref(asked)
            task = asyncio.create_task(server.app(asked, None, send))
            del asked
            await task
            del task
            await asyncio.sleep(0)  # until then the loop has it
            if by_the_collector:
                gc.enable()
                gc.collect()
            assert seen() is None

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()


async def gives_up(scope, receive, send):
    with anyio.move_on_after(0.01):
        await anyio.sleep_forever()


@served(gives_up)
async def test_anyio_cancels_in_it(server):
    await asyncio.wait_for(asyncio.create_task(server()), 5)


def raises_stop(scope, receive, send):
    next(iter(()))


@served(raises_stop)
async def test_an_application_that_raises_stop_iteration_has_not_returned(server):
    with pytest.raises(RuntimeError, match="coroutine raised StopIteration") as raised:
        await server()
    assert isinstance(raised.value.__cause__, StopIteration)


async def yields_for_ever(scope, receive, send):
    while True:
        await asyncio.sleep(0)


@served(yields_for_ever)
async def test_who_looks_on_another_thread_is_not_in_its_way(server):
    call, done, looked = server(), threading.Event(), [0]
    call.send(None)

    def look():
        while not done.is_set():
            call.cr_frame, call.cr_suspended, call.cr_await, call.task  # noqa: B018
            looked[0] += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # Where there is a GIL, it changes hands all the time.
    lookers = [threading.Thread(target=look) for _ in range(2)]
    try:
        for looker in lookers:
            looker.start()
        for _ in range(20_000):
            call.send(None)
    finally:
        sys.setswitchinterval(interval)
        done.set()
        for looker in lookers:
            looker.join()
    assert looked[0] > 0
    call.close()


@served(Stays())
async def test_a_refusal_whose_client_is_gone_ends_its_request(server):
    async def gone(message):
        raise ConnectionResetError

    task = asyncio.ensure_future(server.app(scope(), None, gone))
    await asyncio.sleep(0)
    (request,) = server.app.lameduck._in_flight()
    request.force()
    await asyncio.wait({task}, timeout=5)
    assert task.done() and server.in_flight == 0


@served(fails)
async def test_an_end_that_fails_is_an_end(server):
    def cannot(exchange, error):
        raise MemoryError

    server.app._ended_here = cannot
    with pytest.raises(MemoryError):
        await server()
    assert server.in_flight == 0


async def raises_later(exchange, error):
    raise MemoryError


@served(fails)
async def test_an_end_that_fails_on_its_way_is_an_end(server):
    server.app._ended_here = raises_later
    with pytest.raises(MemoryError):
        await server()
    assert server.in_flight == 0
