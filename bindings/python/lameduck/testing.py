"""For the tests of a program: does what it registered run, in what order, in what time?

``report = lameduck.testing.drain(app)``; in pytest the fixture ``lameduck_drain`` is the same function.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from . import AsgiApp, WsgiApp

__all__ = ["drain"]


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
    to_app: asyncio.Queue[Any] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    lifespan = asyncio.ensure_future(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, to_app.get, from_app.put))
    to_app.put_nowait({"type": "lifespan.startup"})
    answer = await from_app.get()
    if answer["type"] != "lifespan.startup.complete":
        raise RuntimeError(f"lameduck: the application did not start: {answer.get('message', '')}")
    try:
        if during is not None:
            await during()
    finally:
        to_app.put_nowait({"type": "lifespan.shutdown"})
        await lifespan
    return _report(app)


async def _awaited(what: Callable[[], Awaitable[object]]) -> None:
    await what()


def _report(app: AsgiApp | WsgiApp) -> dict[str, Any]:
    report = app.lameduck.report
    assert report is not None
    return report
