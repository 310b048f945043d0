"""A signal whose handler prints the stack of every Python thread, for the watchdog: `faulthandler` does it without the interpreter."""

from __future__ import annotations

import faulthandler
import signal
import threading

_chosen: int | None = None
_lock = threading.Lock()


def signal_for_stacks() -> int | None:
    """Its number; ``None`` where there is none to spare. Registered once in a process and inherited by forked children."""
    global _chosen
    with _lock:
        if _chosen is None:
            _chosen = _register()
        return _chosen


def _register() -> int | None:
    first, last = getattr(signal, "SIGRTMIN", None), getattr(signal, "SIGRTMAX", None)
    if first is None or last is None or not hasattr(faulthandler, "register"):
        return None
    for number in range(last, first, -1):
        try:
            if signal.getsignal(number) == signal.SIG_DFL:
                faulthandler.register(number, file=2, all_threads=True, chain=False)
                return number
        except (ValueError, OSError, RuntimeError):
            continue
    return None
