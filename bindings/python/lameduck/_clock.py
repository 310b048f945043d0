"""Virtual time for a test: a whole shutdown in a few milliseconds."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Any, cast

from ._asgi import AsgiApp
from ._duck import Lameduck
from ._lameduck import Hold
from ._lifespan import Lifespan
from ._notice import _call_soon
from ._options import seconds as checked
from ._virtual import VirtualHold
from ._wsgi import WsgiApp

# What a task may take to go from one wait to the next.
_TURNS = 20


class Clock:
    """``async with Clock(app) as clock:`` starts the application without a server, in time that stands still.

    ``app.lameduck.shutdown()`` begins, ``await clock.advance(seconds)`` lets time pass: hooks, jobs, phases and deadlines come in
    their order, each at its moment. Leaving the block lets pass what it takes to the end. A hook that has not ended after
    ``patience`` seconds of real time, and does not wait in ``clock.sleep()``, is taken to hang.
    """

    def __init__(self, app: AsgiApp | WsgiApp | Lameduck, *, patience: float = 1.0) -> None:
        if not isinstance(app, (AsgiApp, WsgiApp, Lameduck)):
            raise TypeError(f"lameduck: Clock() takes what lameduck.asgi() or lameduck.wsgi() made, or a Lameduck, not {app!r}")
        self._duck = app if isinstance(app, Lameduck) else app.lameduck
        self._patience = checked("patience", patience)
        self._app = app
        self._lifespan: Lifespan | None = None
        self._hanging: set[tuple[str, int]] = set()
        self._sleeping: dict[asyncio.Future[None], tuple[int, asyncio.Task[Any] | None]] = {}

    async def __aenter__(self) -> Clock:
        duck, loop = self._duck, asyncio.get_running_loop()
        if duck._hold is not None and duck._final is None:
            raise RuntimeError("lameduck: the application has started already; one clock at a time")
        changed = self._changed = asyncio.Event()
        hold = self._hold = VirtualHold(duck._options.policy, lambda: _call_soon(loop, changed.set))
        self._began = hold.now
        duck._simulated = cast("Hold", hold)
        try:
            if isinstance(self._app, AsgiApp):
                self._lifespan = Lifespan(self._app)
                await self._lifespan.start()
            else:
                duck._start(loop if isinstance(self._app, Lameduck) else None)
        except BaseException:
            duck._simulated = None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._to_the_end()
        except BaseException:
            if self._lifespan is not None:
                await self._lifespan.give_up()
            self._duck._again()
            raise
        else:
            if self._lifespan is not None:
                await self._lifespan.stop()
        finally:
            self._duck._simulated = None

    @property
    def elapsed(self) -> float:
        """The seconds that have passed since the start."""
        return (self._hold.now - self._began) / 1e9

    async def advance(self, seconds: float) -> None:
        """Lets so much time pass, from one moment at which something is due to the next."""
        until = self._hold.now + _ns("advance", seconds)
        await self._settle()
        while (at := self._next()) is not None and at <= until:
            await self._go(at)
        await self._go(until)

    async def sleep(self, seconds: float) -> None:
        """For hooks, jobs and requests that are to take their time: returns once so much has passed here."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleeping[future] = (self._hold.now + _ns("sleep", seconds), asyncio.current_task())
        self._changed.set()
        try:
            await future
        finally:
            del self._sleeping[future]

    async def _to_the_end(self) -> None:
        self._duck._server_stopped()
        await self._settle()
        while self._duck._final is None:
            at = self._next()
            if at is None:
                raise RuntimeError(f"lameduck: nothing ends this without a deadline: {self._duck.blockers()}")
            await self._go(at)

    def _next(self) -> int | None:
        due = [at for at, _ in self._sleeping.values()]
        wake = self._hold.next_wake()
        return min(due if wake is None else [wake, *due], default=None)

    async def _go(self, at: int) -> None:
        self._hold.tick(at)
        for future, (due, _) in list(self._sleeping.items()):
            if due <= self._hold.now and not future.done():
                future.set_result(None)
        await self._settle()

    async def _settle(self) -> None:
        """Does what is due now, and lets everybody go as far as they come without time passing."""
        while True:
            effects = list(iter(self._hold.effect, None))
            for effect in effects:
                self._do(effect)
            await self._others_run()
            if not effects:
                return

    def _do(self, effect: dict[str, Any]) -> None:
        kind, duck = effect["type"], self._duck
        if kind == "run_hook":
            self._hold.busy.add(("hook", effect["hook"]))
        elif kind == "cancel_job":
            self._hold.busy.add(("job", effect["job"]))
        elif kind == "close_listener":
            duck.stop_notice._give()
            self._hold.close_listener()
        duck._do(cast("Hold", self._hold), effect)

    async def _others_run(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        while awaited := self._hold.busy - self._hanging - self._asleep():
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), self._patience)
            except asyncio.TimeoutError:
                self._hanging |= awaited

    def _asleep(self) -> set[tuple[str, int]]:
        tasks = {task for _, task in self._sleeping.values()}
        hooks = {("hook", hook.id) for hook in self._duck._hooks.values() if hook.task in tasks}
        return hooks | {("job", job._id) for job in self._duck._jobs.copy().values() if job._task in tasks}


def _ns(what: str, seconds: float) -> int:
    span = checked(f"{what}()", seconds)
    if math.isinf(span):
        raise ValueError(f"lameduck: {what}() takes a number of seconds, not infinity")
    return round(span * 1e9)
