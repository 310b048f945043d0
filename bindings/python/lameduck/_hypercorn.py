"""hypercorn's workers: their parent tells them by an event that they poll, not by a signal.

It keeps the listener. On SIGTERM it then waits for any of them (`poll`) and ends; on SIGHUP it joins one after the other and starts others.
The host sees which it is. What comes as a signal was sent to this worker alone, and the parent starts another.
"""

from __future__ import annotations

import multiprocessing
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._duck import Lameduck

_kept: list[Any] = []


def shutdown_event() -> Any:
    """The event, if this process is such a worker. hypercorn passes it as a keyword argument (0.14 to 0.18)."""
    if "hypercorn" not in sys.modules or multiprocessing.parent_process() is None:
        return None
    arguments = getattr(multiprocessing.current_process(), "_kwargs", {})
    event = arguments.get("shutdown_event")
    return event if hasattr(event, "is_set") and not hasattr(event, "_lameduck") else None


def hold_event(duck: Lameduck, event: Any) -> int | None:
    """From now on this process sees it as set once the window is over. Returns the address of its semaphore, for the host: an
    interpreter that is blocked polls nothing. ``None`` when it has none."""
    is_set = event.is_set
    flag = getattr(getattr(event, "_flag", None), "_semlock", None)
    event._lameduck = True
    _kept.append(event)
    if flag is not None:
        event.is_set = duck.stop_notice.is_set
        return int(flag.handle)

    def is_set_later() -> bool:
        if is_set() and not duck.drain_notice.is_set():
            duck.shutdown(cause="terminate")
        return duck.stop_notice.is_set()

    event.is_set = is_set_later
    return None
