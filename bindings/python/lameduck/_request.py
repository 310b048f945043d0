"""A request of a server that is neither ASGI nor WSGI: the program says where it begins and ends."""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._duck import Lameduck
    from ._lameduck import Hold


class Request:
    """Counts, and is named in the report, while its ``with`` or ``async with`` is open.

    The task that entered ``async with`` is cancelled at the drain deadline.
    """

    def __init__(self, duck: Lameduck, label: str, peer: str | None) -> None:
        self.label = label.encode("utf-8", "replace").decode()
        self.peer = peer
        self._duck = duck
        self._hold: Hold | None = None
        self._handle = 0
        self._since = 0
        self._forced = False
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Request:
        if self._since:
            raise RuntimeError(f"lameduck: request '{self.label}' was entered before; make one for each time")
        duck = self._duck
        self._since = monotonic_ns()
        hold = self._hold = duck._here()
        if hold is not None:
            self._handle = hold.request_began()
            duck._live[self._handle] = self
            if duck._draining:
                self.describe(hold)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task = None
        if self._hold is not None:
            self._duck._live.pop(self._handle, None)
            gone = isinstance(error, asyncio.CancelledError) and not self._forced
            self._hold.request_ended(self._handle, "client_gone" if gone else "completed")

    async def __aenter__(self) -> Request:
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def describe(self, hold: Hold) -> None:
        if self.peer is not None:
            hold.handle("connection_described", connection=self._handle, peer=self.peer)
        hold.handle(
            "request_described",
            connection=self._handle,
            request=0,
            kind="ordinary",
            label=self.label,
            since=self._since,
        )

    def blocker(self, now: int) -> dict[str, Any] | None:
        age = round((now - self._since) / 1_000) / 1_000
        blocker = {"what": "request", "protocol": "http1", "kind": "ordinary", "label": self.label}
        return {**blocker, "state": "unanswered", "age_ms": age}

    def end(self) -> None:
        """It is an ordinary one: it ends by itself."""

    def force(self) -> None:
        task, loop = self._task, self._loop
        if task is None or loop is None:
            return

        def cancel() -> None:
            if self._task is not None:
                self._forced = True
                task.cancel()

        try:
            loop.call_soon_threadsafe(cancel)
        except RuntimeError:
            pass  # It is closed: nothing is in flight any more.
