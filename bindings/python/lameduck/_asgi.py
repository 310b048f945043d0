"""The wrapper around an ASGI application: counts its requests, announces, and brings long-lived ones to their end."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from ._duck import LAST, Lameduck, _ms, log
from ._job import enter_request
from ._health import Health
from ._lameduck import Exchange, Gate, Hold
from ._notice import uncancel

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import Options

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

CLOSE = (b"connection", b"close")
REASON = "the server is restarting"


def asgi(app: Any, **policy: Unpack[Options]) -> AsgiApp:
    """Wraps an ASGI application; the wrapper goes last, around everything else. Its shutdown is ``app.lameduck``."""
    return AsgiApp(app, Lameduck(**policy))


class AsgiApp(Gate):
    """An application in its wrapper. What the wrapper has not is the application's."""

    def __init__(self, app: Application, duck: Lameduck) -> None:
        check_app(app, 3, "an ASGI application takes scope, receive and send", "lameduck.wsgi()")
        self._app = app
        self.lameduck = duck
        self._health = Health(duck)
        # A server does not call these: it looks whether they are a coroutine function's.
        self.__dict__.update(__call__=self._call, __signature__=inspect.signature(self._call))
        duck._of_exchange = lambda exchange: Request(exchange, duck)
        duck._told_of_phases.append(self._enter)
        # The event loops that serve it: granian has one in each of its threads where there is no GIL.
        self._loops: set[asyncio.AbstractEventLoop] = set()

    def __getattr__(self, name: str) -> Any:
        # A server asks for the special ones to learn what it has before it: this wrapper.
        if name.startswith("__") or name == "_app":
            raise AttributeError(name)
        return getattr(self._app, name)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self(scope, receive, send)

    async def _long_way(self, scope: Scope, receive: Receive, send: Send) -> None:
        """All that is no plain request to an application that is serving."""
        kind = scope["type"]
        if kind == "http":
            await self._request(scope, receive, send)
        elif kind == "websocket":
            enter_request(True)
            await self._websocket(scope, receive, send)
        elif kind == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request that is more than to be counted, or that comes before the start or after it."""
        duck = self.lameduck
        hold = duck._hold or self._start_late()
        if await self._answered(scope, receive, send, hold):
            return
        assert hold is not None
        enter_request(True)
        answer = hold.begin(scope, send, self, _current_task(), running_loop())
        exchange = answer.__self__
        if duck._draining:
            self.came_late(exchange)
        try:
            await self._app(scope, receive, answer)
        except BaseException as error:
            if not await self._ended_here(exchange, error):
                raise
        else:
            refusal = exchange.leave(False)
            if refusal is not None:
                await refusal

    async def _ended_here(self, exchange: Exchange, error: BaseException) -> bool:
        """The application has raised this. Returns whether it was cancelled because its time is over, and for nothing else."""
        raised = True
        try:
            request = Request(exchange, self.lameduck)
            if isinstance(error, asyncio.CancelledError) and request.was_cancelled_here():
                await request.finish_early()
                raised = False
        finally:
            refusal = exchange.leave(raised)
            if refusal is not None:
                await refusal
        return not raised

    async def _awaited(self, awaitable: Awaitable[object]) -> None:
        await awaitable

    def _enter(self, phase: str) -> None:
        """Between the start and the drain a plain request costs nothing here."""
        hold, loop = self.lameduck._hold, self.lameduck._loop
        if phase == "serving" and isinstance(hold, Hold) and loop is not None:
            self._open(hold, self._app, running_loop, task_in, enter_request, self._health.paths)
        else:
            self._close()

    def came_late(self, exchange: Exchange) -> None:
        """It began while draining, or just before."""
        hold = self.lameduck._hold
        if hold is not None:
            Request(exchange, self.lameduck).describe(hold)

    async def _answered(self, scope: Scope, receive: Receive, send: Send, hold: Hold | None) -> bool:
        """Whether the request was a probe, was refused, or is not ours to count."""
        duck = self.lameduck
        probe = self._health.probe(scope["method"], scope["path"])
        if probe is not None:
            ok, body = await self._health.answer(probe)
            closes = hold is not None and announces(scope, hold, 0)
            await respond(scope, send, 200 if ok else 503, body, *([CLOSE] if closes else []))
        elif hold is None:
            await self._app(scope, receive, send)
        elif duck._draining and duck._options.policy.refuses:
            answer = hold.begin(scope, send, self, None, None)
            try:
                await unavailable(scope, send)
            finally:
                answer.__self__.end_as("refused")
        else:
            return False
        return True

    async def send_late(self, exchange: Exchange, message: Message) -> None:
        """While draining, for the extension."""
        if exchange.refusal is not None:
            return  # It was answered in the application's place.
        kind = message["type"]
        if kind == "http.response.start":
            exchange.note_start(message)
            message = Request(exchange, self.lameduck).announced(message)
        elif (kind == "http.response.body" and not message.get("more_body", False)) or kind == "http.response.pathsend":
            return await self.send_last(exchange, message)
        await exchange.pass_on(message)

    async def send_last(self, exchange: Exchange, message: Message) -> None:
        """A last message that may have to wait for its reader."""
        await exchange.pass_on(message)
        exchange.end_as("ended" if self.lameduck._draining and Request(exchange, self.lameduck).is_stream() else "completed")

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        duck = self.lameduck
        hold = duck._hold or self._start_late()
        if hold is None:
            await self._app(scope, receive, send)
        else:
            await WebSocket(scope, send, hold, duck).run(self._app, receive)

    def _start_late(self) -> Hold | None:
        """The server sent no lifespan: it was told not to, or there is none."""
        hold = self.lameduck._start_late(_running_loop())
        if hold is not None:
            log.warning(
                "the server sent no ASGI lifespan: signals are held from this first request on, and whether hooks run depends "
                "on how the server exits; turn the lifespan on"
            )
        return hold

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        duck = self.lameduck
        if _running_loop() is None:
            log.warning("this server's lifespan runs on another event loop than asyncio's: hooks run when the process exits")
            await self._app(scope, receive, send)
            return
        inner = InnerLifespan(self._app, scope)
        await receive()
        duck._prepare()
        answer = await inner.startup()
        if answer["type"] == "lifespan.startup.complete":
            loop = asyncio.get_running_loop()
            try:
                duck._start(loop=loop)
            except (OSError, ValueError) as error:
                log.error("signals are not held, the server stops in its own way: %s", error)
            else:
                with duck._lock:
                    self._loops.add(loop)
                if inner.speaks and loop is duck._loop:
                    # So that the report knows it, and it cannot cost the flush hooks their time.
                    duck._hook("close", "lifespan", inner.shutdown, LAST, None, once=True)
        await send(answer)
        if answer["type"] == "lifespan.startup.failed":
            return
        try:
            await receive()
        finally:
            with duck._lock:
                self._loops.discard(asyncio.get_running_loop())
        if duck._hold is not None:
            if not self._loops:
                duck._server_stopped()
            await duck._done_notice
        await inner.shutdown()
        if inner.failure is None:
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "lifespan.shutdown.failed", "message": inner.failure})


class InnerLifespan:
    """The application's own lifespan, if it has one."""

    def __init__(self, app: Application, scope: Scope) -> None:
        self._app = app
        self._scope = scope
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._stopped: asyncio.Task[None] | None = None
        self.speaks = True
        self.failure: str | None = None

    async def startup(self) -> Message:
        self._task = asyncio.create_task(self._run())
        self._to_app.put_nowait({"type": "lifespan.startup"})
        answer = await self._from_app.get()
        if answer is None:
            self.speaks = False
            return {"type": "lifespan.startup.complete"}
        return answer

    async def shutdown(self) -> None:
        """Once, however often it is called."""
        if not self.speaks or self._task is None:
            return
        if self._stopped is None:
            self._stopped = asyncio.create_task(self._shutdown())
        await asyncio.shield(self._stopped)
        if self.failure is not None:
            raise RuntimeError(self.failure)

    async def _shutdown(self) -> None:
        self._to_app.put_nowait({"type": "lifespan.shutdown"})
        answer = await self._from_app.get()
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            self.failure = str(answer.get("message") or "the application's shutdown failed")

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._to_app.get, self._take)
        except Exception as error:
            # As servers do when their lifespan is `auto`: Django, for one, refuses it so.
            log.debug("the application ended its lifespan: %r", error)
        finally:
            self._from_app.put_nowait(None)

    async def _take(self, message: Message) -> None:
        self._from_app.put_nowait(message)


class Request:
    """One HTTP request in flight: what it takes besides being counted, which the extension does."""

    __slots__ = ("_duck", "_exchange")

    def __init__(self, exchange: Exchange, duck: Lameduck) -> None:
        self._exchange = exchange
        self._duck = duck

    def was_cancelled_here(self) -> bool:
        """Whether its task was cancelled because its time is over, and for nothing else."""
        exchange = self._exchange
        cut, _ = exchange.cut
        in_flight = not exchange.over or exchange.refusal is not None
        task = _current_task()
        return cut and in_flight and (task is None or uncancel(task) == 0)

    async def finish_early(self) -> None:
        """Its task was cancelled because its time is over."""
        exchange = self._exchange
        if exchange.refusal is not None:
            return
        _, in_its_manner = exchange.cut
        if in_its_manner:
            await exchange.pass_on({"type": "http.response.body", "body": b"", "more_body": False})
        # Else: the server sees an answer that was not completed and cuts the connection; a clean end would be a lie.
        exchange.end_as("ended" if in_its_manner else "refused")

    async def _refuse(self) -> None:
        exchange = self._exchange
        try:
            await unavailable(exchange.scope, exchange.pass_on)
        except Exception as error:
            log.debug("a client was gone before its request was refused: %r", error)
        else:
            exchange.end_as("refused")
        finally:
            exchange.end_as("client_gone")  # unless it ended before: the first word counts

    def announced(self, message: Message) -> Message:
        exchange, hold = self._exchange, self._duck._hold
        if hold is None:
            return message
        announced = announces(exchange.scope, hold, exchange.handle)
        if announced:
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
            message = {**message, "headers": [*headers, CLOSE]}
        hold.handle("request_headers_sent", connection=exchange.handle, request=0, announced=announced)
        if self.is_stream():
            self.describe(hold)
        return message

    def is_stream(self) -> bool:
        headers = self._exchange.headers or ()
        return any(name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)

    def _label(self) -> str:
        scope = self._exchange.scope
        return printable(f"{scope['method']} {scope['path']}")

    def describe(self, hold: Hold) -> None:
        """After the hand-over: who asked for what."""
        exchange = self._exchange
        handle = exchange.handle
        client = exchange.scope.get("client")
        if client:
            hold.handle("connection_described", connection=handle, peer=f"{client[0]}:{client[1]}")
        kind = "stream" if self.is_stream() else "ordinary"
        hold.handle(
            "request_described", connection=handle, request=0, kind=kind, label=self._label(), since=exchange.since
        )
        if exchange.begun:
            hold.handle("request_headers_sent", connection=handle, request=0, announced=False)

    def blocker(self, now: int) -> dict[str, Any] | None:
        exchange = self._exchange
        state = "response begun" if exchange.begun else "unanswered"
        blocker = {"what": "request", "protocol": "http1", "kind": "stream" if self.is_stream() else "ordinary"}
        return {**blocker, "label": self._label(), "state": state, "age_ms": _ms(now - exchange.since)}

    def end(self) -> None:
        """An event stream: its protocol's end. Called on another thread, as the next."""
        self._cancel(in_its_manner=True)

    def force(self) -> None:
        self._cancel(in_its_manner=False)

    def _cancel(self, in_its_manner: bool) -> None:
        exchange = self._exchange
        loop = exchange.event_loop
        if loop is None:
            return

        def cancel() -> None:
            # Known since it waits, as it does while this runs.
            task = exchange.task
            if task is not None and exchange.cut_short(in_its_manner):
                if not exchange.begun and exchange.refusal is None:
                    # First, and by a task of its own: the application may take its time over its cancellation.
                    exchange.refuse_by(loop.create_task(self._refuse()))
                task.cancel()

        _call_soon(loop, cancel)


running_loop = asyncio._get_running_loop
task_in: Callable[[asyncio.AbstractEventLoop], asyncio.Task[Any] | None]
if sys.version_info >= (3, 12):
    task_in = asyncio.current_task
else:
    # There it is written in Python, around this.
    task_in = asyncio.tasks._current_tasks.get  # type: ignore[attr-defined]  # pyright: ignore


def announces(scope: Scope, hold: Hold, handle: int) -> bool:
    """Whether the response to this request says that its connection closes."""
    client = scope.get("client")
    peer = hash((client[0], client[1])) if client else handle
    return hold.announcing_to(peer) and scope.get("http_version", "1.1") < "2"


async def respond(scope: Scope, send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    """A whole answer of our own."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def unavailable(scope: Scope, send: Send) -> None:
    close = [CLOSE] if scope.get("http_version", "1.1") < "2" else []
    await respond(scope, send, 503, b'{"status":"unavailable","phase":"draining"}', (b"retry-after", b"1"), *close)


class WebSocket:
    """One WebSocket."""

    __slots__ = ("_closed", "_duck", "_handle", "_hold", "_loop", "_send", "_since", "_task", "_why", "scope")

    def __init__(self, scope: Scope, send: Send, hold: Hold, duck: Lameduck) -> None:
        self.scope = scope
        self._send = send
        self._hold = hold
        self._duck = duck
        self._closed = False
        self._why: str | None = None

    async def run(self, app: Application, receive: Receive) -> None:
        duck, hold = self._duck, self._hold
        self._since = monotonic_ns()
        self._task = _current_task()
        self._loop = _running_loop()
        self._handle = handle = hold.websocket_opened()
        duck._live[handle] = self
        if duck._draining:
            self.describe(hold)
        try:
            await app(self.scope, receive, self.send)
        except asyncio.CancelledError:
            if self._why != "force" or (self._task is not None and uncancel(self._task) > 0):
                raise
        except Exception:
            # After our close frame the application's next call fails: that is how it learns of it.
            if self._why is None:
                raise
        finally:
            duck._live.pop(handle, None)
            hold.websocket_closed(handle)

    async def send(self, message: Message) -> None:
        if self._closed:
            return
        if message["type"] == "websocket.close":
            self._closed = True
        await self._send(message)

    def describe(self, hold: Hold) -> None:
        client = self.scope.get("client")
        if client:
            hold.handle("connection_described", connection=self._handle, peer=f"{client[0]}:{client[1]}")

    def blocker(self, now: int) -> dict[str, Any] | None:
        return None

    def end(self) -> None:
        loop = self._loop
        if loop is not None:
            _call_soon(loop, lambda: self._begin_close(loop))

    def _begin_close(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._closed:
            self._why = "end"
            closing = loop.create_task(self._close())
            self._duck._tasks.add(closing)
            closing.add_done_callback(self._duck._tasks.discard)

    async def _close(self) -> None:
        try:
            await self.send({"type": "websocket.close", "code": 1012, "reason": REASON})
        except Exception as error:
            log.debug("a WebSocket was gone before its close frame: %r", error)

    def force(self) -> None:
        task, loop = self._task, self._loop
        if task is None or loop is None:
            return

        def cancel() -> None:
            if not task.done():
                self._why = "force"
                task.cancel()

        _call_soon(loop, cancel)


def printable(label: str) -> str:
    """A path is what a client sent; half a character of it must not cost the request."""
    return label.encode("utf-8", "replace").decode()


def check_app(app: object, arguments: int, rule: str, other: str) -> None:
    """Refuses what is no application of this kind, and what is wrapped already."""
    if isinstance(getattr(app, "lameduck", None), Lameduck):
        raise TypeError("lameduck: this application is wrapped already; wrap it once, last")
    if not callable(app):
        raise TypeError(f"lameduck: {rule}; {app!r} is not callable")
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*range(arguments))
    except TypeError:
        raise TypeError(f"lameduck: {rule}; {app!r} takes {signature}. For the other kind there is {other}") from None


def _current_task() -> asyncio.Task[Any] | None:
    """Of the thread's own loop: several may serve one application."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None  # trio


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _call_soon(loop: asyncio.AbstractEventLoop, fn: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(fn)
    except RuntimeError:
        pass  # It is closed: nothing is in flight any more.
