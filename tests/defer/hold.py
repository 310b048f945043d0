"""The hold, as far as the tests need it. Without DEFER_LIBRARY every function does nothing: the plain server."""

import ctypes
import os

_path = os.environ.get("DEFER_LIBRARY")
_library = ctypes.CDLL(_path) if _path else None


def start():
    """Call it once the server has installed its own signal handlers, in the process that serves."""
    if _library:
        window, grace = os.environ["DEFER_WINDOW_MS"], os.environ["DEFER_GRACE_MS"]
        fencing = ["auto", "always", "never"].index(os.environ["DEFER_FENCING"])
        if _library.hold_start(int(window), int(grace), fencing) != 0:
            raise RuntimeError("the hold did not start")


def announcing():
    return bool(_library and _library.hold_announcing())


def server_stopped():
    """The server's own shutdown event. Leaves the report in DEFER_REPORTS."""
    if not _library:
        return
    _library.hold_server_stopped()
    path = os.path.join(os.environ["DEFER_REPORTS"], f"{os.getpid()}.json")
    with open(path, "wb") as file:
        _library.hold_report(file.fileno())
