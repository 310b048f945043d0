"""A hold without the operating system: no signals, no thread, no watchdog, and time is what the test says it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic_ns
from typing import Any

from ._lameduck import Machine, Policy

_THE_SERVER = 1


class VirtualHold:
    """To a ``Lameduck`` what ``Hold`` is. Requests of the application are served and not counted; those of ``request()`` are."""

    def __init__(self, policy: Policy, changed: Callable[[], None]) -> None:
        self.now = monotonic_ns()
        self._machine = Machine(policy)
        self._changed = changed
        self._lock = threading.RLock()
        self._requests: set[int] = set()
        self._last_handle = 0
        self.busy: set[tuple[str, int]] = set()
        """Hooks that run and jobs that were cancelled, until they have ended."""

    # Of the clock.

    def tick(self, now: int) -> None:
        with self._lock:
            self.now = max(self.now, now)
            self._machine.tick(self.now)

    def next_wake(self) -> int | None:
        wake = self._machine.next_wake()
        return wake[0] if wake is not None else None

    def effect(self) -> dict[str, Any] | None:
        return self._machine.poll_effect()

    def close_listener(self) -> None:
        self.handle("listener_closed", listener=_THE_SERVER)

    # Of the handle.

    def handle(self, event: str, /, **fields: Any) -> str | None:
        with self._lock:
            begins = event == "shutdown" and self.phase == "serving"
            if begins:
                self._tell("listener_opened", listener=_THE_SERVER)
            refused = self._tell(event, **fields)
            if begins:
                for handle in self._requests:
                    self._tell("connection_adopted", connection=handle, protocol="http1", in_flight=1, announced=False)
            for what in ("hook", "job"):
                if event == f"{what}_finished":
                    self.busy.discard((what, fields[what]))
        self._changed()
        return refused

    def _tell(self, event: str, **fields: Any) -> str | None:
        return self._machine.handle(event, now=self.now, **fields)

    def request_began(self) -> int:
        with self._lock:
            self._last_handle += 1
            handle = self._last_handle
            self._requests.add(handle)
            if self.phase != "serving":
                self._tell("connection_opened", connection=handle, protocol="http1")
                self._tell("request_started", connection=handle, request=0, kind="ordinary")
        return handle

    def request_ended(self, handle: int, outcome: str) -> None:
        with self._lock:
            self._requests.discard(handle)
            if self.phase != "serving":
                self._tell("request_finished", connection=handle, request=0, outcome=outcome, flushed=True)
                self._tell("connection_closed", connection=handle)
        self._changed()

    def server_stopped(self) -> None:
        if self.phase == "serving":
            self.handle("shutdown", cause="programmatic", ever_accepted=False)
            self.close_listener()
            self.handle("escalate")

    @property
    def phase(self) -> str:
        return self._machine.phase

    @property
    def totals(self) -> tuple[int, int]:
        return len(self._requests), len(self._requests)

    def report(self) -> str | None:
        return self._machine.report(self.now)

    # Of the application.

    def begin(self, scope: Any, send: Any, wrapper: Any, task: Any, event_loop: Any) -> Any:
        return Uncounted(scope, send).answer

    def exchange(self, handle: int) -> None:
        return None

    def in_flight(self) -> list[Any]:
        return []

    def websocket_opened(self) -> int:
        return 0

    def websocket_closed(self, handle: int) -> None: ...

    def announcing_to(self, peer: int) -> bool:
        return False

    # Of the operating system, which is not there.

    def describe_cause(self, detail: str) -> None: ...
    def drains(self) -> None: ...
    def serves(self) -> None: ...
    def write_report(self) -> None: ...
    def release(self) -> None: ...

    def log_lines(self) -> list[tuple[bool, str]]:
        return []


class Uncounted:
    """What ``Exchange`` is to the wrapper, of a request that nobody counts."""

    handle = since = 0
    begun = over = False
    cut = (False, False)
    event_loop = headers = refusal = task = None

    def __init__(self, scope: Any, send: Any) -> None:
        self.scope = scope
        self.pass_on = send

    def answer(self, message: Any) -> Any:
        return self.pass_on(message)

    def leave(self, raised: bool) -> None: ...
    def end_as(self, outcome: str) -> None: ...
