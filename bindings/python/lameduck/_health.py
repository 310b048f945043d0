"""Health routes: who asks gets them answered before the application sees the request."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from typing import Any

from ._duck import Lameduck, log
from ._hooks import call, sentence


class Health:
    """Answers ``live_path`` 200 as long as the process lives, ``ready_path`` while it wants traffic and every check passes."""

    def __init__(self, duck: Lameduck) -> None:
        self._duck = duck
        options = duck._options
        self.paths = {path: probe for path, probe in ((options.live_path, "live"), (options.ready_path, "ready")) if path}
        self._last: dict[str, str] = {}

    def probe(self, method: str, path: str) -> str | None:
        """Which probe asks, if one does."""
        return self.paths.get(path) if method in ("GET", "HEAD") else None

    async def answer(self, probe: str) -> tuple[bool, bytes]:
        """For event loops."""
        if probe == "live" or not self._duck._wants_traffic:
            return self._answer(probe, {})
        checks = self._duck._options.checks
        outcomes = await asyncio.gather(*(self._outcome(name) for name in checks))
        return self._answer(probe, dict(zip(checks, outcomes, strict=True)))

    def answer_in_thread(self, probe: str) -> tuple[bool, bytes]:
        """For threads."""
        if probe == "live" or not self._duck._wants_traffic:
            return self._answer(probe, {})
        results: dict[str, str] = {}

        def run() -> None:
            results.update(asyncio.run(self._outcomes()))

        # A thread may have an event loop running already, as under gevent or in a worker of another server.
        thread = threading.Thread(target=run, name="lameduck checks", daemon=True)
        thread.start()
        thread.join()
        return self._answer(probe, results)

    async def _outcomes(self) -> dict[str, str]:
        checks = self._duck._options.checks
        return dict(zip(checks, await asyncio.gather(*(self._outcome(name) for name in checks)), strict=True))

    async def _outcome(self, name: str) -> str:
        """What the probe may know. An error's text can hold secrets; it goes to the log, once."""
        options = self._duck._options
        detail = "ok"
        try:
            if await asyncio.wait_for(_asked(options.checks[name]), options.check_timeout) is False:
                detail = "it returned False"
        except (asyncio.TimeoutError, TimeoutError):
            detail = f"no answer within {options.check_timeout:g} s"
        except Exception as error:
            detail = sentence(error)
        if detail != self._last.get(name, "ok"):
            log.warning("readiness check '%s': %s", name, detail)
        self._last[name] = detail
        return "ok" if detail == "ok" else "failed"

    def _answer(self, probe: str, checks: dict[str, str]) -> tuple[bool, bytes]:
        # The server may have been asked to stop while the checks ran.
        ok = probe == "live" or (self._duck._wants_traffic and all(one == "ok" for one in checks.values()))
        body: dict[str, Any] = {"status": "ok" if ok else "unavailable", "phase": self._duck.phase}
        if checks:
            body["checks"] = checks
        return ok, json.dumps(body).encode()


async def _asked(check: Any) -> object:
    result = await call(check)
    return await result if inspect.isawaitable(result) else result
