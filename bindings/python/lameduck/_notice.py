"""Something that will happen once, for whoever waits: tasks, threads, and the bodies of ``async with``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")


class Notice:
    """``await notice`` returns once it is given; a thread calls ``wait()``.

    ``async with notice:`` cancels its body when it is given and goes on behind it. Not around a ``yield``: whoever iterates would
    be cancelled; wrap what a generator reads from in ``until()``.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._waiting: dict[object, tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = {}
        self._scopes: dict[asyncio.Task[object], list[_Scope]] = {}

    def is_set(self) -> bool:
        """Whether it was given."""
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks this thread until it is given, at most ``timeout`` seconds. Returns whether it was."""
        return self._event.wait(timeout)

    def __await__(self) -> Generator[object, None, None]:
        return self._awaited().__await__()

    async def _awaited(self) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        key = self._subscribe(loop, lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            self._unsubscribe(key)

    async def until(self, source: AsyncIterable[T]) -> AsyncIterator[T]:
        """What ``source`` yields until the notice is given: for the generators of event streams."""
        iterator = aiter_of(source)
        given = asyncio.ensure_future(self._awaited())
        try:
            while not given.done():
                item = asyncio.ensure_future(_next(iterator))
                try:
                    await asyncio.wait({item, given}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not item.done():
                        item.cancel()
                        await asyncio.wait({item})
                if item.cancelled():
                    return
                try:
                    value = item.result()
                except StopAsyncIteration:
                    return
                yield value
        finally:
            given.cancel()
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()

    async def __aenter__(self) -> Notice:
        task = asyncio.current_task()
        assert task is not None, "async with runs in a task"
        scope = _Scope(task)
        scope.key = self._subscribe(asyncio.get_running_loop(), scope.cancel)
        self._scopes.setdefault(task, []).append(scope)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        task = asyncio.current_task()
        assert task is not None
        scope = self._scopes[task].pop()
        if not self._scopes[task]:
            del self._scopes[task]
        self._unsubscribe(scope.key)
        return await scope.leave(kind)

    def _give(self) -> None:
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            waiting, self._waiting = self._waiting, {}
        for loop, ring in waiting.values():
            _call_soon(loop, ring)

    def _subscribe(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> object:
        key = object()
        with self._lock:
            if not self._event.is_set():
                self._waiting[key] = (loop, ring)
                return key
        loop.call_soon(ring)
        return key

    def _unsubscribe(self, key: object) -> None:
        with self._lock:
            self._waiting.pop(key, None)


class _Scope:
    """The body of one ``async with``."""

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.task = task
        self.key: object = None
        self.fired = False
        self.left = False
        self.cancelling = cancelling(task)

    def cancel(self) -> None:
        if not self.left:
            self.fired = True
            self.task.cancel()

    async def leave(self, kind: type[BaseException] | None) -> bool:
        self.left = True
        if not self.fired:
            return False
        if kind is None:
            # The body ended before it was cancelled; nobody else shall be.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                pass
        others = uncancel(self.task) > self.cancelling
        return kind is not None and issubclass(kind, asyncio.CancelledError) and not others


def cancelling(task: asyncio.Task[object]) -> int:
    """How many cancellations are pending; Python 3.10 does not count."""
    count = getattr(task, "cancelling", None)
    return count() if count is not None else 0


def uncancel(task: asyncio.Task[object]) -> int:
    """Takes one cancellation back. Returns how many are pending still."""
    back = getattr(task, "uncancel", None)
    return back() if back is not None else 0


def aiter_of(source: AsyncIterable[T]) -> AsyncIterator[T]:
    return source.__aiter__()


async def _next(iterator: AsyncIterator[T]) -> T:
    return await iterator.__anext__()


def _call_soon(loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(ring)
    except RuntimeError:
        pass  # The loop is closed, and with it whoever waited.
