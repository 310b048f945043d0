"""The wrapper around a WSGI application: counts its requests to the end of the body."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ._asgi import check_app, printable
from ._duck import Lameduck, _ms, log
from ._job import enter_request
from ._health import Health
from ._lameduck import Hold, now

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import Options

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


def wsgi(app: Any, **policy: Unpack[Options]) -> WsgiApp:
    """Wraps a WSGI application; the wrapper goes last, around everything else. Its shutdown is ``app.lameduck``."""
    return WsgiApp(app, Lameduck(**policy))


class WsgiApp:
    """An application in its wrapper. What the wrapper has not is the application's."""

    def __init__(self, app: Application, duck: Lameduck) -> None:
        check_app(app, 2, "a WSGI application takes environ and start_response", "lameduck.asgi()")
        self._app = app
        self.lameduck = duck
        self._health = Health(duck)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_app":
            raise AttributeError(name)
        return getattr(self._app, name)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        duck = self.lameduck
        hold = duck._hold or self._start_late(environ)
        enter_request(True)
        probe = self._health.probe(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""))
        if probe is not None:
            ok, text = self._health.answer_in_thread(probe)
            return _respond(start_response, "200 OK" if ok else "503 Service Unavailable", text)
        if hold is None:
            return self._app(environ, start_response)
        request = Request(environ, hold, duck)
        if duck._draining and duck._options.policy.refuses:
            request.finish("refused")
            text = b'{"status":"unavailable","phase":"draining"}'
            return _respond(start_response, "503 Service Unavailable", text, ("Retry-After", "1"))

        def begin(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            return start_response(status, request.begin(headers), *error)

        try:
            body = self._app(environ, begin)
        except BaseException:
            request.finish("completed")
            raise
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(body, wrapper):
            # It must stay what it is, or the server does not hand the file to the kernel.
            inner = getattr(body, "close", None)

            def close() -> None:
                request.finish("completed")
                if inner is not None:
                    inner()

            body.close = close  # type: ignore[attr-defined]
            return body
        return Body(body, request)

    def _start_late(self, environ: Environ) -> Hold | None:
        """Nobody started it: the server has no hook for that, or was not given it."""
        hold = self.lameduck._start_late()
        if hold is not None and "gunicorn" in environ.get("SERVER_SOFTWARE", ""):
            log.warning("run gunicorn with `-c python:lameduck.gunicorn`: connections are then told that they close")
        return hold


class Request:
    """One request in flight."""

    __slots__ = ("_begun", "_duck", "_handle", "_hold", "_over", "_since", "environ")

    def __init__(self, environ: Environ, hold: Hold, duck: Lameduck) -> None:
        self.environ = environ
        self._hold = hold
        self._duck = duck
        self._begun = False
        self._over = False
        self._since = now()
        self._handle = hold.request_began()
        duck._live[self._handle] = self
        if duck._draining:
            self.describe(hold)

    def begin(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        self._begun = True
        announced = self._announces()
        if announced:
            headers = [*headers, ("Connection", "close")]
        if self._duck._draining:
            self._hold.handle("request_headers_sent", connection=self._handle, request=0, announced=announced)
        return headers

    def _announces(self) -> bool:
        """PEP 3333 leaves the header to the server. granian lets it pass; gunicorn has a hook of its own for it."""
        if "granian" not in self.environ.get("SERVER_SOFTWARE", "").lower():
            return False
        return self._hold.announcing_to(hash((self.environ.get("REMOTE_ADDR"), self.environ.get("REMOTE_PORT"))))

    def finish(self, outcome: str) -> None:
        if not self._over:
            self._over = True
            self._duck._live.pop(self._handle, None)
            self._hold.request_ended(self._handle, outcome)

    def describe(self, hold: Hold) -> None:
        peer = self.environ.get("REMOTE_ADDR")
        if peer:
            port = self.environ.get("REMOTE_PORT")
            hold.handle("connection_described", connection=self._handle, peer=f"{peer}:{port}" if port else peer)
        hold.handle(
            "request_described",
            connection=self._handle,
            request=0,
            kind="ordinary",
            label=self._label(),
            since=self._since,
        )
        if self._begun:
            hold.handle("request_headers_sent", connection=self._handle, request=0, announced=False)

    def blocker(self, now: int) -> dict[str, Any] | None:
        state = "response begun" if self._begun else "unanswered"
        blocker = {"what": "request", "protocol": "http1", "kind": "ordinary", "label": self._label()}
        return {**blocker, "state": state, "age_ms": _ms(now - self._since)}

    def _label(self) -> str:
        return printable(f"{self.environ['REQUEST_METHOD']} {self.environ.get('PATH_INFO', '')}")

    def force(self) -> None:
        """A thread cannot be cancelled: it ends by itself, or at the hard deadline."""

    end = force


class Body:
    """The response's body: the request ends with it."""

    __slots__ = ("_body", "_done", "_iterator", "_request")

    def __init__(self, body: Iterable[bytes], request: Request) -> None:
        self._body = body
        self._iterator = iter(body)
        self._request = request
        self._done = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._iterator)
        except StopIteration:
            self._done = True
            raise

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._request.finish("completed" if self._done else "client_gone")


def _respond(start_response: StartResponse, status: str, body: bytes, *more: tuple[str, str]) -> list[bytes]:
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    start_response(status, [*headers, *more])
    return [body]
