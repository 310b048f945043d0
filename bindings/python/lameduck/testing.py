"""For the tests of a program: does what it registered run, in what order, in what time?

``report = lameduck.testing.drain(app)``; in pytest the fixture ``lameduck_drain`` is the same function. What happens when, with
deadlines of minutes, in milliseconds? ``async with lameduck.testing.Clock(app) as clock:``; the fixture is ``lameduck_clock``. And does the program lose
requests, as its server runs it? ``lameduck.testing.stop_under_load("uvicorn main:app --port {port}")``; the fixture is ``lameduck_stop``.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import AsgiApp, WsgiApp, _load
from ._clock import Clock
from ._lifespan import Lifespan

__all__ = ["Clock", "Stopped", "drain", "stop_under_load"]


@dataclass(frozen=True)
class Stopped:
    """What became of a server that was stopped under load."""

    answered: int
    lost: int
    """Requests whose connection ended before their answer did. A connection that is refused lost nothing."""
    reasons: dict[str, int]
    """How they were lost, in words."""
    status: int
    """The exit status; negative: by that signal."""
    took: float
    """Seconds from SIGTERM to its end."""
    reports: list[dict[str, Any]]
    """The report of each of its processes."""


def stop_under_load(
    command: str | Sequence[str],
    *,
    path: str = "/",
    clients: int = 20,
    seconds: float = 1.0,
    patience: float = 60.0,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> Stopped:
    """Runs a server, puts ``clients`` keep-alive clients on it that ask for ``path`` without a pause, and sends SIGTERM after
    ``seconds``. ``{port}`` in the command is a free port, on which it listens at 127.0.0.1; ``PORT`` in its environment is the same.

    A window of half a second or so is enough here: ``env={"LAMEDUCK_WINDOW": "0.5"}``.
    """
    words = shlex.split(command) if isinstance(command, str) else list(command)
    if not words:
        raise ValueError("lameduck: stop_under_load() takes the command of a server")
    port = _load.free_port()
    with tempfile.TemporaryDirectory() as folder:
        own = {"PORT": str(port), "LAMEDUCK_REPORT_FILE": str(Path(folder) / "{pid}.json")}
        result = _load.stop_under_load(
            [word.replace("{port}", str(port)) for word in words],
            port,
            clients=clients,
            load_seconds=seconds,
            patience=patience,
            path=path,
            folder=cwd,
            environment={**os.environ, **own, **(env or {})},
        )
        reports = [json.loads(file.read_text()) for file in sorted(Path(folder).glob("*.json"))]
    return Stopped(
        result["counts"]["answered"], _load.lost(result), dict(result["reasons"]), result["status"], result["took"], reports
    )


def drain(app: AsgiApp | WsgiApp, during: Callable[[], Awaitable[object]] | None = None) -> dict[str, Any]:
    """Starts the application without a server (an ASGI one by its lifespan), awaits ``during()``, stops it, and returns the report.

    Hooks run as they do in a server, with their timeouts. It may be called again and again.
    """
    if isinstance(app, AsgiApp):
        return asyncio.run(_drain_asgi(app, during))
    if not isinstance(app, WsgiApp):
        raise TypeError(f"lameduck: drain() takes what lameduck.asgi() or lameduck.wsgi() made, not {app!r}")
    duck = app.lameduck
    duck._start()
    if during is not None:
        asyncio.run(_awaited(during))
    duck._server_stopped()
    duck._done_notice.wait()
    return _report(app)


async def _drain_asgi(app: AsgiApp, during: Callable[[], Awaitable[object]] | None) -> dict[str, Any]:
    lifespan = Lifespan(app)
    await lifespan.start()
    try:
        if during is not None:
            await during()
    finally:
        await lifespan.stop()
    return _report(app)


async def _awaited(what: Callable[[], Awaitable[object]]) -> None:
    await what()


def _report(app: AsgiApp | WsgiApp) -> dict[str, Any]:
    report = app.lameduck.report
    assert report is not None
    return report
