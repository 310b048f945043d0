"""aiohttp's server: ``duck = lameduck.aiohttp.attach(app, grace=30)`` before ``web.run_app(app)``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ._asgi import printable
from ._duck import Lameduck, _ms, log
from ._job import enter_request
from ._health import Health
from ._lameduck import Hold, now
from ._notice import uncancel

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import Options

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_attached = web.AppKey("lameduck", Lameduck)


def attach(app: web.Application, **policy: Unpack[Options]) -> Lameduck:
    """Lets the application's server drain without losing a request. Hooks run once it has, before the application's own clean-up."""
    if not isinstance(app, web.Application):
        raise TypeError(f"lameduck: attach() takes an aiohttp.web.Application, not {app!r}")
    if _attached in app:
        raise TypeError("lameduck: this application has one already; attach it once")
    duck = Lameduck(**policy)
    app[_attached] = duck
    health = Health(duck)

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        probe = health.probe(request.method, request.path)
        if probe is not None:
            ok, body = await health.answer(probe)
            return _json(200 if ok else 503, body)
        enter_request(True)
        hold = duck._hold or duck._start_late(asyncio.get_running_loop())
        if hold is None:
            return await handler(request)
        exchange = Request(request, hold, duck)
        if duck._draining and duck._options.policy.refuses:
            exchange.finish("refused")
            return _unavailable()
        return await exchange.run(handler)

    async def announce(request: web.Request, response: web.StreamResponse) -> None:
        exchange = request.get(_EXCHANGE)
        if isinstance(exchange, Request):
            exchange.begin(response)
        elif duck._hold is not None and duck._hold.announcing_to(_peer(request)):
            _announce(response)

    async def start(app: web.Application) -> None:
        # The runner has installed its signal handlers.
        duck._start(asyncio.get_running_loop())

    async def stop(app: web.Application) -> None:
        if duck._hold is not None:
            duck._server_stopped()
            await duck._done_notice

    app.middlewares.insert(0, count)
    app.on_response_prepare.append(announce)
    app.on_startup.append(start)
    app.on_cleanup.insert(0, stop)
    return duck


_EXCHANGE = "lameduck.request"


class Request:
    """One request in flight, to the end of its handler; the server itself waits for the rest of the answer."""

    def __init__(self, request: web.Request, hold: Hold, duck: Lameduck) -> None:
        self._request = request
        self._hold = hold
        self._duck = duck
        self._response: web.StreamResponse | None = None
        self._since = now()
        self._over = False
        self._why: str | None = None
        # What answers in the handler's place, and the task that sends it.
        self._answer: web.Response | None = None
        self._refusal: asyncio.Task[None] | None = None
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._handle = hold.request_began()
        duck._live[self._handle] = self
        request[_EXCHANGE] = self
        if duck._draining:
            self.describe(hold)

    async def run(self, handler: Handler) -> web.StreamResponse:
        outcome = "completed"
        try:
            response = await handler(self._request)
        except asyncio.CancelledError:
            if self._why is None or (self._task is not None and uncancel(self._task) > 0):
                outcome = "client_gone"
                raise
            outcome = "ended" if self._why == "end" else "refused"
            if self._answer is None:
                if self._why == "force" or self._response is None:
                    raise
                return self._response
        except Exception as error:
            if self._answer is None:
                raise
            log.warning("%s was cancelled at the drain deadline, and failed: %r", self._label(), error)
        else:
            if self._answer is None:
                return response
        finally:
            if self._answer is None:
                self.finish(outcome)
        assert self._refusal is not None and self._answer is not None
        await self._refusal
        return self._answer

    async def _refuse(self, answer: web.Response) -> None:
        outcome = "client_gone"
        try:
            await answer.prepare(self._request)
            await answer.write_eof()
            outcome = "refused"
        except Exception as error:
            log.debug("a client was gone before its request was refused: %r", error)
        finally:
            self.finish(outcome)

    def begin(self, response: web.StreamResponse) -> None:
        if self._answer is not None and response is not self._answer:
            raise asyncio.CancelledError  # It comes too late.
        self._response = response
        announced = self._hold.announcing_to(_peer(self._request))
        if announced:
            _announce(response)
        if self._duck._draining:
            self._hold.handle("request_headers_sent", connection=self._handle, request=0, announced=announced)
            if self._is_stream():
                self.describe(self._hold)

    def finish(self, outcome: str) -> None:
        if not self._over:
            self._over = True
            self._duck._live.pop(self._handle, None)
            if outcome == "completed" and self._duck._draining and self._is_stream():
                outcome = "ended"
            self._hold.request_ended(self._handle, outcome)

    def _is_stream(self) -> bool:
        response = self._response
        return isinstance(response, web.WebSocketResponse) or (
            response is not None and response.content_type == "text/event-stream"
        )

    def _label(self) -> str:
        return printable(f"{self._request.method} {self._request.path}")

    def describe(self, hold: Hold) -> None:
        handle = self._handle
        peername = self._request.transport.get_extra_info("peername") if self._request.transport else None
        if peername:
            hold.handle("connection_described", connection=handle, peer=f"{peername[0]}:{peername[1]}")
        kind = "stream" if self._is_stream() else "ordinary"
        hold.handle(
            "request_described", connection=handle, request=0, kind=kind, label=self._label(), since=self._since
        )
        if self._response is not None:
            hold.handle("request_headers_sent", connection=handle, request=0, announced=False)

    def blocker(self, now: int) -> dict[str, Any] | None:
        state = "response begun" if self._response is not None else "unanswered"
        blocker = {"what": "request", "protocol": "http1", "kind": "stream" if self._is_stream() else "ordinary"}
        return {**blocker, "label": self._label(), "state": state, "age_ms": _ms(now - self._since)}

    def end(self) -> None:
        """Its protocol's end. Called on another thread, as the next."""
        response: Any = self._response
        if isinstance(response, web.WebSocketResponse):
            self._soon(lambda: self._close(self._response))
        else:
            self._cancel("end")

    def force(self) -> None:
        self._cancel("force")

    def _close(self, socket: Any) -> None:
        closing: asyncio.Task[Any] = self._loop.create_task(socket.close(code=1012, message=b"the server is restarting"))
        self._duck._tasks.add(closing)
        closing.add_done_callback(self._duck._tasks.discard)

    def _cancel(self, why: str) -> None:
        def cancel() -> None:
            if not self._over and self._task is not None:
                self._why = why
                if self._response is None and self._answer is None:
                    # First, and by a task of its own: the handler may take its time over its cancellation.
                    self._answer = _unavailable()
                    self._refusal = self._loop.create_task(self._refuse(self._answer))
                self._task.cancel()

        self._soon(cancel)

    def _soon(self, fn: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(fn)
        except RuntimeError:
            pass  # It is closed: nothing is in flight any more.


def _peer(request: web.Request) -> int:
    peername: Any = request.transport.get_extra_info("peername") if request.transport else None
    # Of a Unix socket it is a text, and empty as a rule.
    return hash(tuple(peername[:2])) if peername else id(request.transport)


def _announce(response: web.StreamResponse) -> None:
    if not isinstance(response, web.WebSocketResponse):
        # Its headers are made already, but not sent.
        response.force_close()
        response.headers["Connection"] = "close"


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(
        status=status, body=body, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def _unavailable() -> web.Response:
    response = _json(503, b'{"status":"unavailable","phase":"draining"}')
    response.headers["Retry-After"] = "1"
    _announce(response)
    return response
