"""One shutdown: what the program asked of it, and the machine's effects carried out."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from multiprocessing.util import Finalize
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast, overload

from . import _hypercorn, _stacks
from ._hooks import Hook, Registered, abandon, begin, running, sentence
from ._job import Job
from ._lameduck import CAUSES, Exchange, Hold, is_listening
from ._metrics import Family, families, text
from ._notice import Notice
from ._options import Options, check, named, seconds, whole
from ._request import Request
from ._resources import ResourceT, Use

if TYPE_CHECKING:
    from typing_extensions import Unpack  # Type checkers bring it along.

log = logging.getLogger("lameduck")

HookFn = TypeVar("HookFn", bound=Hook)

_BEAT = 0.1
_NAMED_BLOCKERS = 10
LAST = 2**31 - 1

_started: weakref.WeakSet[Lameduck] = weakref.WeakSet()


class Live(Protocol):
    """A request or WebSocket in flight."""

    def describe(self, hold: Hold) -> None: ...
    def blocker(self, now: int) -> dict[str, Any] | None: ...
    def end(self) -> None: ...
    def force(self) -> None: ...


class Lameduck:
    """A shutdown that the program can take part in: hooks, jobs, notices, the report.

    ``lameduck.asgi()`` and ``lameduck.wsgi()`` make one; it is the application's ``lameduck``. On its own, for servers that are
    neither, it is used as ``async with Lameduck(grace=30) as duck:`` or ``with``: ``duck.stop_notice`` is given when the server is to
    stop, and leaving the block runs the hooks.
    """

    def __init__(self, **policy: Unpack[Options]) -> None:
        self._given = policy
        self._options = check(policy)
        self._lock = threading.RLock()
        self._hold: Hold | None = None
        self._pid: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hooks: dict[int, Registered] = {}
        self._jobs: dict[int, Job] = {}
        self._live: dict[int, Live] = {}
        # Requests that the extension keeps, as what is done with them here.
        self._of_exchange: Callable[[Exchange], Live] | None = None
        self._told_of_phases: list[Callable[[str], None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._beats = False
        self._next_id = 1
        self._wanted = True
        self._draining = False
        self._preparing = False
        self._final: dict[str, Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._by_itself = False
        # In a test, whose clock drives it.
        self._simulated: Hold | None = None
        self.drain_notice = Notice()
        """Given when draining begins: end streams, stop consuming."""
        self.stop_notice = Notice()
        """Given when the window is over, for servers of which nothing else knows how to stop them."""
        self._done_notice = Notice()

    # What the program asks.

    @property
    def phase(self) -> str:
        """``'serving'``, ``'draining'``, ``'closing'`` or ``'done'``."""
        if self._final is not None:
            return "done"
        return self._hold.phase if self._hold is not None else "serving"

    @property
    def ready(self) -> bool:
        """Whether this process serves and wants new traffic."""
        return self._hold is not None and self._wants_traffic

    @property
    def _wants_traffic(self) -> bool:
        """What a probe is told; whoever asks without a server, as a test does, is served."""
        hold = self._hold
        stays = hold is None or self._options.policy.stays_ready or hold.phase == "serving"
        return stays and self._wanted and self._final is None

    @property
    def report(self) -> dict[str, Any] | None:
        """The report, provisional until the phase is ``'done'``; ``None`` before the server has started."""
        return self._final if self._final is not None else self._story()

    @overload
    def on_drain(self, name: str, fn: HookFn, *, order: int = 0, timeout: float | None = None) -> HookFn: ...
    @overload
    def on_drain(self, name: str, *, order: int = 0, timeout: float | None = None) -> Callable[[HookFn], HookFn]: ...
    def on_drain(self, name: str, fn: Hook | None = None, *, order: int = 0, timeout: float | None = None) -> object:
        """Runs ``fn`` when draining begins: pause consumers, deregister. Without ``fn`` it is a decorator."""
        return self._hook("drain", name, fn, order, timeout)

    @overload
    def on_close(self, name: str, fn: HookFn, *, order: int = 0, timeout: float | None = None) -> HookFn: ...
    @overload
    def on_close(self, name: str, *, order: int = 0, timeout: float | None = None) -> Callable[[HookFn], HookFn]: ...
    def on_close(self, name: str, fn: Hook | None = None, *, order: int = 0, timeout: float | None = None) -> object:
        """Runs ``fn`` after the last request: close pools and clients. Without ``fn`` it is a decorator."""
        return self._hook("close", name, fn, order, timeout)

    @overload
    def on_flush(self, name: str, fn: HookFn, *, order: int = 0, timeout: float | None = None) -> HookFn: ...
    @overload
    def on_flush(self, name: str, *, order: int = 0, timeout: float | None = None) -> Callable[[HookFn], HookFn]: ...
    def on_flush(self, name: str, fn: Hook | None = None, *, order: int = 0, timeout: float | None = None) -> object:
        """Runs ``fn`` last of all: flush logs and metrics. Without ``fn`` it is a decorator."""
        return self._hook("flush", name, fn, order, timeout)

    def use(self, client: ResourceT, *, name: str | None = None, order: int = 0, timeout: float | None = None) -> ResourceT:
        """Closes a pool or client after the last request, by the method that it has for it; returns it. The consumers of an aio-pika
        connection are paused when draining begins, and what they were given is waited for."""
        use = Use(client)
        for stage, fn in use.hooks():
            self._hook(stage, use.name if name is None else name, fn, order, timeout)
        use.watch()
        return client

    def job(self, name: str, *, on_drain: Literal["wait", "cancel"] = "wait") -> Job:
        """Background work that shutdown waits for: ``with duck.job('mail'):`` or ``async with``.

        With ``on_drain='cancel'`` it is cancelled when draining begins, and that it stops then is no loss. While draining only what
        a request begins is taken.
        """
        if on_drain not in ("wait", "cancel"):
            raise ValueError(f"lameduck: on_drain of job '{name}' is 'wait' or 'cancel', not {on_drain!r}")
        return Job(self, named("job", name), on_drain)

    def request(self, label: str, peer: str | None = None) -> Request:
        """A request of a server of your own, which shutdown waits for: ``with duck.request('GET /x'):`` or ``async with``."""
        return Request(self, named("request", label), peer)

    def serves(self) -> None:
        """This program does its work although it has no listening socket: systemd may know (``READY=1``). With one it is told anyway."""
        hold = self._here()
        if hold is None:
            raise RuntimeError("lameduck: it has not started; call serves() in the with block")
        hold.serves()

    def shutdown(self, cause: str = "programmatic") -> None:
        """Stops the server as a signal would; calling again changes nothing. Returns at once: ``drain_notice``, ``stop_notice`` and
        ``wait_done()`` say how far it is."""
        if not isinstance(cause, str) or not cause:
            raise TypeError(f"lameduck: shutdown(cause=) takes a text, not {cause!r}")
        hold = self._here()
        if hold is None:
            raise RuntimeError("lameduck: the server has not started; there is nothing to shut down")
        hold.describe_cause(cause)
        known = cause if cause in CAUSES else "programmatic"
        if hold.phase == "serving" or cause in CAUSES:
            hold.handle("shutdown", cause=known, ever_accepted=True)

    async def wait_done(self) -> dict[str, Any]:
        """Waits until everything is over, and returns the report."""
        hook = running.get()
        if hook is not None:
            raise RuntimeError(f"lameduck: hook '{hook}' would wait for the end of itself")
        await self._done_notice
        assert self._final is not None
        return self._final

    def blockers(self) -> dict[str, Any]:
        """What holds shutdown up, or would: counts, and the oldest by name."""
        report = self._story()
        if report is not None and report["phase"] != "serving":
            return cast("dict[str, Any]", report.get("blockers") or _no_blockers())
        now = time.monotonic_ns()
        blockers = _no_blockers()
        named_ones: list[dict[str, Any]] = []
        for exchange in self._in_flight():
            one = exchange.blocker(now)
            if one is None:
                blockers["idle_connections"] += 1
            else:
                blockers["requests"] += 1
                named_ones.append(one)
        for job in self._jobs.copy().values():
            blockers["jobs"] += 1
            named_ones.append({"what": "job", "id": job._id, "name": job.name, "age_ms": _ms(now - job._since)})
        named_ones.sort(key=lambda one: one["age_ms"], reverse=True)
        blockers["oldest"] = named_ones[:_NAMED_BLOCKERS]
        return blockers

    def metrics(self) -> str:
        """Prometheus text."""
        return text(self._families())

    def _families(self) -> list[Family]:
        in_flight = self._hold.totals[1] if self._hold is not None else 0
        return families(self.phase, self.ready, in_flight, len(self._jobs), self.report)

    # A server of its own.

    async def __aenter__(self) -> Lameduck:
        self._adopt_signals()
        self._start(loop=asyncio.get_running_loop())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)
        await self._done_notice
        self._release()

    def __enter__(self) -> Lameduck:
        self._adopt_signals()
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)
        self._done_notice.wait()
        self._release()

    def _adopt_signals(self) -> None:
        """Nobody else takes them: what the hold delivers is the notice to stop."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in self._options.signals:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._told_to_stop)

    def _told_to_stop(self, number: int, frame: object) -> None:
        self.stop_notice._give()

    def _leave(self, error: BaseException | None) -> None:
        hold = self._here()
        if hold is None:
            raise RuntimeError("lameduck: the block was entered in another process")
        if error is not None and isinstance(error, Exception):
            hold.describe_cause(sentence(error))
            hold.handle("shutdown", cause="uncaught_exception", ever_accepted=True)
        self._server_stopped()

    def _release(self) -> None:
        self._beats = False
        if self._hold is not None:
            self._hold.release()
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._handlers.clear()

    # Start.

    def _here(self) -> Hold | None:
        if self._pid is not None and self._pid != os.getpid():
            raise RuntimeError(
                f"lameduck: this object was started in process {self._pid} and does not work in its forked child "
                f"{os.getpid()}: make one there, after the fork"
            )
        return self._hold

    def _allow(self, ceiling: float) -> None:
        """A parent that ends this process kills it after so many seconds."""
        if "grace" not in self._given:
            self._options = check(self._given, ceiling)
        elif (budget := self._options.policy.budget) is None or budget > ceiling:
            log.warning(
                "the parent process kills this one %g s after it told it to stop, sooner than its deadline: "
                "let grace be %g at most, or raise what the parent allows",
                ceiling,
                ceiling,
            )

    def _prepare(self) -> None:
        """The application's own start-up begins, maybe not for the first time: what it registers now it registers each time."""
        with self._lock:
            if self._final is not None:
                self._again()
            if self._hold is None:
                self._hooks = {id: hook for id, hook in self._hooks.items() if not hook.once}
                self._preparing = True

    def _start(self, loop: asyncio.AbstractEventLoop | None = None, fencing: str | None = None) -> Hold:
        """After the server has installed its signal handlers, in the process that serves. Once."""
        with self._lock:
            if self._final is not None:
                self._again()
            hold = self._here()
            if hold is not None:
                return hold
            policy = self._options.policy
            hold = self._simulated or self._real_hold(fencing)
            self._hold, self._loop, self._pid = hold, loop, os.getpid()
            self._preparing = False
            _started.add(self)
            self._tell_phase("serving")
            for hook in self._hooks.values():
                self._register(hold, hook)
            for job in self._jobs.values():
                job._tell(hold)
            if self._simulated is None:
                threading.Thread(target=self._drive, args=(hold,), name="lameduck", daemon=True).start()
        log.info("policy: %s", policy.describe())
        line, supervised, warnings = policy.surroundings()
        if supervised:
            log.info("%s", line)
        for warning in warnings:
            log.warning("%s", warning)
        return hold

    def _start_late(self, loop: asyncio.AbstractEventLoop | None = None) -> Hold | None:
        """A request came and nobody has started it. Not in a test that calls the application without a server."""
        if not is_listening():
            return None
        hold = self._start(loop)
        self._stop_at_exit()
        return hold

    def _again(self) -> None:
        """The process lives on and serves again, as in a test that starts the application several times."""
        self._release()
        self._hold, self._pid, self._final = None, None, None
        self._tell_phase("done")
        self._draining = self._by_itself = False
        self._wanted = True
        self.drain_notice, self.stop_notice, self._done_notice = Notice(), Notice(), Notice()

    def _real_hold(self, fencing: str | None) -> Hold:
        polled = _hypercorn.shutdown_event()
        if polled is not None:
            # What the hold delivers in the end has nobody else who takes it.
            self._adopt_signals()
        return self._new_hold(fencing or _fencing(), None if polled is None else _hypercorn.hold_event(self, polled))

    def _new_hold(self, fencing: str, stop_flag: int | None) -> Hold:
        options = self._options
        stacks = _stacks.signal_for_stacks()

        def start(report_file: str | None) -> Hold:
            return Hold(
                options.policy,
                signals=options.signals,
                fencing=fencing,
                stacks=stacks,
                report_file=report_file,
                stop_flag=stop_flag,
                tells_service=not _is_worker(),
            )

        try:
            return start(options.report_file)
        except OSError as error:
            if options.report_file is None:
                raise
            log.error("%s", error)
            return start(None)

    def _server_stopped(self) -> None:
        """The server has drained: from its own shutdown event."""
        hold = self._here()
        if hold is not None:
            self._by_itself = hold.phase == "serving"
            hold.server_stopped()

    def _stop_at_exit(self) -> None:
        """The server has no event for its end: the interpreter's is taken for it. A worker of `multiprocessing` knows no `atexit`."""

        def stopped() -> None:
            if self._hold is not None and self._final is None:
                self._server_stopped()
                self._done_notice.wait()

        Finalize(None, stopped, exitpriority=LAST)

    # Hooks.

    def _hook(
        self, stage: str, name: str, fn: Hook | None, order: int, timeout: float | None, once: bool = False
    ) -> object:
        named(f"{stage} hook", name)
        whole(f"order of {stage} hook '{name}'", order)
        limit = None if timeout is None else seconds(f"timeout of {stage} hook '{name}'", timeout)
        if fn is None:

            def decorate(fn: HookFn) -> HookFn:
                self._hook(stage, name, fn, order, limit)
                return fn

            return decorate
        if not callable(fn):
            raise TypeError(f"lameduck: {stage} hook '{name}' is a function, not {fn!r}")
        with self._lock:
            hold = self._here()
            hook = Registered(self._new_id(), stage, name, fn, order, limit, once or self._preparing)
            if hold is not None:
                refused = self._register(hold, hook)
                if refused is not None:
                    raise RuntimeError(
                        f"lameduck: {stage} hook '{name}' comes too late: the process is {self.phase}; register it at start"
                    )
            self._hooks[hook.id] = hook
        return fn

    def _register(self, hold: Hold, hook: Registered) -> str | None:
        return hold.handle(
            "hook_registered", hook=hook.id, stage=hook.stage, name=hook.name, order=hook.order, timeout=hook.timeout
        )

    def _new_id(self) -> int:
        with self._lock:
            self._next_id += 1
            return self._next_id - 1

    def _hook_ended(self, hook: Registered, error: str | None) -> None:
        if self._hold is not None:
            self._hold.handle("hook_finished", hook=hook.id, error=error)

    # The machine's effects, on a thread of their own.

    def _drive(self, hold: Hold) -> None:
        beating_here = told = False
        while True:
            # The hand-over is no effect, and whether the interpreter is alive nobody else can say.
            effects = hold.next_effects(_BEAT / 2 if self._draining else None)
            if effects is None:
                return
            self._log(hold)
            if self._draining and not told and hold.handed_over:
                told = True
                for way in hold.ways():
                    log.info("%s", way)
                self.stop_notice._give()
            for effect in effects:
                try:
                    self._do(hold, effect)
                except Exception:
                    log.exception("an effect was lost: %r", effect)
                if effect["type"] == "exit":
                    while beating_here and hold.next_effects(_BEAT / 2) is not None:
                        hold.beat()
                    return
            if self._draining and not beating_here:
                beating_here = not self._beat_in_loop(hold)
            if beating_here:
                hold.beat()

    @staticmethod
    def _log(hold: Hold) -> None:
        for warns, line in hold.log_lines():
            log.log(logging.WARNING if warns else logging.INFO, "%s", line, extra={"lameduck_phase": hold.phase})

    def _beat_in_loop(self, hold: Hold) -> bool:
        """Starts, once, to let the event loop show that it is alive."""
        loop = self._loop
        if loop is None or not loop.is_running():
            return False
        if not self._beats:
            self._beats = True

            def beat() -> None:
                hold.beat()
                # To the very end: after Done the server may still wait for an application that does not end.
                if self._beats and self._hold is hold:
                    loop.call_later(_BEAT, beat)

            try:
                loop.call_soon_threadsafe(beat)
            except RuntimeError:
                return False
        return True

    def _do(self, hold: Hold, effect: dict[str, Any]) -> None:
        kind = effect["type"]
        if kind == "phase_changed":
            self._enter(hold, effect["phase"])
        elif kind == "set_readiness":
            self._wanted = effect["ready"]
        elif kind == "run_hook":
            begin(self._hooks[effect["hook"]], self._loop, self._hook_ended)
        elif kind == "abandon_hook":
            abandon(self._hooks[effect["hook"]], self._loop)
        elif kind == "cancel_job":
            job = self._jobs.get(effect["job"])
            if job is not None:
                job._cancel()
        elif kind == "close_long_lived":
            exchange = self._find(hold, effect["connection"])
            if exchange is not None:
                exchange.end()
        elif kind == "force_connection":
            exchange = self._find(hold, effect["connection"])
            if exchange is not None:
                exchange.force()
        elif kind == "exit":
            self._finish(hold)

    def _enter(self, hold: Hold, phase: str) -> None:
        if phase == "draining":
            self._draining = True
            self._tell_phase(phase)
            hold.drains()
            for exchange in self._in_flight():
                exchange.describe(hold)
            self.drain_notice._give()

    def _tell_phase(self, phase: str) -> None:
        for tell in self._told_of_phases:
            tell(phase)

    def _in_flight(self) -> list[Live]:
        live = list(self._live.copy().values())
        if self._hold is not None and self._of_exchange is not None:
            live += map(self._of_exchange, self._hold.in_flight())
        return live

    def _find(self, hold: Hold, handle: int) -> Live | None:
        exchange = hold.exchange(handle) if self._of_exchange is not None else None
        if exchange is None or self._of_exchange is None:
            return self._live.get(handle)
        return self._of_exchange(exchange)

    def _story(self) -> dict[str, Any] | None:
        text = self._hold.report() if self._hold is not None else None
        if text is None:
            return None
        return cast("dict[str, Any]", json.loads(text))

    def _finish(self, hold: Hold) -> None:
        report = self._story()
        self._final = report if report is not None else {}
        self._log(hold)
        try:
            hold.write_report()
        except OSError as error:
            log.error("the report could not be written to %s: %s", self._options.report_file, error)
        lost = self._final.get("lost", [])
        level = logging.WARNING if lost else logging.INFO
        log.log(level, "report: %s", json.dumps(self._final, ensure_ascii=False), extra={"lameduck_report": self._final})
        self.stop_notice._give()
        if self._by_itself:
            # Nobody asked the process to end: it may live on, with its own signals and without a deadline.
            self._beats = False
            hold.release()
        self._done_notice._give()


def _no_blockers() -> dict[str, Any]:
    return {"requests": 0, "idle_connections": 0, "jobs": 0, "hooks": 0, "listeners": 0, "oldest": []}


def _ms(nanoseconds: int) -> float:
    return round(nanoseconds / 1_000) / 1_000


def _is_worker() -> bool:
    """Whether this is a process that a server made beside its own: gunicorn forks, the others use `multiprocessing`."""
    return multiprocessing.parent_process() is not None or "gunicorn.arbiter" in sys.modules


def _fencing() -> str:
    """uvicorn's supervisor keeps the listener, but it stops all of its workers only when it ends itself."""
    is_worker = multiprocessing.parent_process() is not None
    return "siblings" if is_worker and "uvicorn.supervisors" in sys.modules else "auto"


def _forget_in_child() -> None:
    for duck in _started:
        duck._hold = None
        duck._tell_phase("done")
        duck._lock = threading.RLock()


os.register_at_fork(after_in_child=_forget_in_child)
