"""Background work that shutdown waits for."""

from __future__ import annotations

import asyncio
import contextvars
import time
from types import TracebackType
from typing import TYPE_CHECKING

from ._lameduck import Hold
from ._notice import Notice

if TYPE_CHECKING:
    from ._duck import Lameduck

in_request: contextvars.ContextVar[bool] = contextvars.ContextVar("lameduck_request", default=False)
enter_request = in_request.set


class Job:
    """Background work that shutdown waits for, while its ``with`` or ``async with`` is open.

    Shortly before the drain deadline, or when draining begins, the task that entered ``async with`` is cancelled; a thread asks
    ``cancelled``.
    """

    def __init__(self, duck: Lameduck, name: str, on_drain: str) -> None:
        self.name = name
        self._on_drain = on_drain
        self._duck = duck
        self._id = 0
        self._since = 0
        self._notice = Notice()
        self._task: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def cancelled(self) -> bool:
        """Whether it shall stop now: what is not done soon is cut."""
        return self._notice.is_set()

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Blocks this thread until it shall stop, at most ``timeout`` seconds. Returns whether it shall."""
        return self._notice.wait(timeout)

    def __enter__(self) -> Job:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)

    async def __aenter__(self) -> Job:
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task = None
        self._end(error)

    def _begin(self) -> None:
        duck = self._duck
        if self._id:
            raise RuntimeError(f"lameduck: job '{self.name}' was entered before; make one for each time")
        with duck._lock:
            hold = duck._here()
            self._id, self._since = duck._new_id(), time.monotonic_ns()
            refused = self._tell(hold) if hold is not None else None
            if refused is not None:
                only = " and takes only jobs that a request begins" if duck.phase == "draining" else ""
                raise RuntimeError(f"lameduck: job '{self.name}' was refused: the process is {duck.phase}{only}")
            duck._jobs[self._id] = self

    def _tell(self, hold: Hold) -> str | None:
        source = "request" if in_request.get() else "background"
        return hold.handle("job_started", job=self._id, name=self.name, source=source, on_drain=self._on_drain)

    def _end(self, error: BaseException | None) -> None:
        duck = self._duck
        outcome = "completed" if error is None else "aborted" if self.cancelled else "failed"
        with duck._lock:
            duck._jobs.pop(self._id, None)
            hold = duck._here()
        if hold is not None:
            hold.handle("job_finished", job=self._id, outcome=outcome)

    def _cancel(self) -> None:
        self._notice._give()
        task, loop = self._task, self._loop
        if task is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)
