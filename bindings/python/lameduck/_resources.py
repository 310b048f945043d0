"""Pools and clients, known by the way in which they are closed: no client library is a dependency."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol, TypeVar, Union, cast

from ._aio_pika import Consumers

Hook = Callable[[], object]


class AsyncClosable(Protocol):
    """As ``contextlib.aclosing`` has it: clients of ``redis.asyncio``, ``httpx.AsyncClient``, ``AsyncExitStack``."""

    def aclose(self) -> Awaitable[object]: ...


class Closable(Protocol):
    """``close()`` may be a coroutine: pools of asyncpg and psycopg, ``redis.Redis``, a connection of aio-pika."""

    def close(self) -> object: ...


class Disposable(Protocol):
    """``Engine`` and ``AsyncEngine`` of SQLAlchemy."""

    def dispose(self) -> object: ...


Resource = Union[AsyncClosable, Closable, Disposable]
ResourceT = TypeVar("ResourceT", bound=Resource)

_WAYS = ("aclose", "close", "dispose")


class Use:
    """What one client needs when the server stops."""

    def __init__(self, client: object) -> None:
        if isinstance(client, Coroutine):
            raise TypeError("lameduck: use() was given a coroutine: await it, and take what it returns")
        # Of the class: what answers to any name, as clients of MongoDB do, must not pass for what it is not. A class has instances.
        way = next((way for way in _WAYS if callable(getattr(type(client), way, None))), None)
        if way is None or inspect.isclass(client):
            raise TypeError(
                f"lameduck: use() takes a pool or client, known by its method aclose(), close() or dispose(), not {_shown(client)}; "
                "for anything else there are on_drain() and on_close()"
            )
        self._client = client
        self._close = cast("Hook", getattr(client, way))
        self._consumers = Consumers(client) if _is_of("aio_pika", client) else None
        self.name = f"{_package(type(client))}.{type(client).__name__}"

    def hooks(self) -> list[tuple[str, Hook]]:
        """Stages, and what is done then."""
        lazy = _is_of("asyncpg", self._client) and hasattr(self._client, "_initialized")
        closes = ("close", self._close_used if lazy else self._close)
        return [closes] if self._consumers is None else [("drain", self._consumers.drain), closes]

    def watch(self) -> None:
        if self._consumers is not None:
            self._consumers.watch()

    async def _close_used(self) -> None:
        """A pool of asyncpg that nobody has used yet refuses to be closed."""
        if cast("_Pool", self._client)._initialized:
            await cast("Awaitable[object]", self._close())


class _Pool(Protocol):
    _initialized: bool


def _is_of(package: str, client: object) -> bool:
    return any(_package(kind) == package for kind in type(client).__mro__)


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _shown(value: object) -> str:
    """Of what kind it is: what it holds may be a password."""
    if value is None:
        return "None"
    return f"the class {value.__name__}" if inspect.isclass(value) else f"{type(value).__name__!r}"
