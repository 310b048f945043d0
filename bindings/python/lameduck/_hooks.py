"""A clean-up that the program registered, and how it is run."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import cast

Hook = Callable[[], object]

running: contextvars.ContextVar[str | None] = contextvars.ContextVar("lameduck_hook", default=None)


class Registered:
    __slots__ = ("fn", "id", "name", "once", "order", "stage", "task", "timeout")

    def __init__(
        self, id: int, stage: str, name: str, fn: Hook, order: int, timeout: float | None, once: bool
    ) -> None:
        self.id, self.stage, self.name, self.fn, self.order, self.timeout = id, stage, name, fn, order, timeout
        self.once = once
        self.task: asyncio.Task[None] | None = None


Ended = Callable[[Registered, "str | None"], None]


def begin(hook: Registered, loop: asyncio.AbstractEventLoop | None, ended: Ended) -> None:
    """Runs it in the event loop if that is running, else in a thread; ``ended`` gets what went wrong."""
    if loop is not None and loop.is_running():

        def create() -> None:
            hook.task = loop.create_task(_in_loop(hook, ended))

        try:
            loop.call_soon_threadsafe(create)
            return
        except RuntimeError:
            pass  # It was closed meanwhile.
    threading.Thread(target=_in_thread, args=(hook, ended), name=f"lameduck {hook.name}", daemon=True).start()


def abandon(hook: Registered, loop: asyncio.AbstractEventLoop | None) -> None:
    """Its time is over. A thread cannot be ended."""
    task = hook.task
    if task is not None and loop is not None and not loop.is_closed():
        loop.call_soon_threadsafe(task.cancel)


async def _in_loop(hook: Registered, ended: Ended) -> None:
    running.set(hook.name)
    failure = None
    try:
        result = await call(hook.fn)
        if inspect.isawaitable(result):
            await result
    except asyncio.CancelledError:
        failure = "it was cancelled"
    except BaseException as error:
        failure = sentence(error)
    hook.task = None
    ended(hook, failure)


def _in_thread(hook: Registered, ended: Ended) -> None:
    running.set(hook.name)
    failure = None
    try:
        result = hook.fn()
        if inspect.isawaitable(result):
            asyncio.run(_awaited(result))
    except BaseException as error:
        failure = sentence(error)
    ended(hook, failure)


def sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


async def call(fn: Hook) -> object:
    """Awaits an async function; runs another one in a thread, so that it does not block the event loop."""
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None)):
        return await cast("Callable[[], Awaitable[object]]", fn)()
    loop = asyncio.get_running_loop()
    future: asyncio.Future[object] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: object, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def run() -> None:
        result, failed = None, None
        try:
            result = context.run(fn)
        except BaseException as error:
            failed = error if not isinstance(error, StopIteration) else RuntimeError(repr(error))
        try:
            loop.call_soon_threadsafe(settle, result, failed)
        except RuntimeError:
            pass  # The loop is closed: nobody waits any more.

    # Not the loop's executor, all of whose threads may hang.
    threading.Thread(target=run, name="lameduck call", daemon=True).start()
    return await future


async def _awaited(what: Awaitable[object]) -> object:
    return await what
