"""An ASGI application's lifespan as a server speaks it, for those who start one without a server."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._asgi import AsgiApp


class Lifespan:
    """One, of an application in its wrapper."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._to_app: asyncio.Queue[Any] = asyncio.Queue()
        self._from_app: asyncio.Queue[Any] = asyncio.Queue()

    async def start(self) -> None:
        scope: MutableMapping[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self._task = asyncio.ensure_future(self._app(scope, self._to_app.get, self._from_app.put))
        self._to_app.put_nowait({"type": "lifespan.startup"})
        answer = await self._from_app.get()
        if answer["type"] != "lifespan.startup.complete":
            raise RuntimeError(f"lameduck: the application did not start: {answer.get('message', '')}")

    async def stop(self) -> None:
        self._to_app.put_nowait({"type": "lifespan.shutdown"})
        await self._task

    async def give_up(self) -> None:
        """It would not end."""
        self._task.cancel()
        await asyncio.wait({self._task})
