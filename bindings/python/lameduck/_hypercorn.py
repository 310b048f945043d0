"""hypercorn's workers: their parent tells them by an event that they poll, not by a signal."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._duck import Lameduck


def shutdown_event() -> Any:
    """The event, if this process is such a worker. hypercorn passes it as a keyword argument (0.14 to 0.18)."""
    if "hypercorn" not in sys.modules or multiprocessing.parent_process() is None:
        return None
    arguments = getattr(multiprocessing.current_process(), "_kwargs", {})
    event = arguments.get("shutdown_event")
    return event if hasattr(event, "is_set") and not hasattr(event, "_lameduck") else None


def hold_event(duck: Lameduck, event: Any) -> None:
    """From now on the event is taken for a signal: this process sees it as set once the window is over."""
    is_set = event.is_set
    asked = threading.Event()

    def is_set_later() -> bool:
        if not asked.is_set() and is_set():
            asked.set()
            duck.shutdown(cause="terminate")
        return duck.stop_notice.is_set()

    event.is_set = is_set_later
    event._lameduck = True
