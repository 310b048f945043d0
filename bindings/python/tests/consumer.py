"""A program that uses everything there is. It is type-checked, never run."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aio_pika
import asyncpg  # type: ignore[import-untyped]
import lameduck
import psycopg_pool
import redis
import redis.asyncio
import sqlalchemy
from lameduck import Job, Lameduck
from lameduck.testing import Clock
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from typing_extensions import assert_type


async def application(scope: object, receive: object, send: object) -> None: ...


app = lameduck.asgi(
    application, grace=30, window=2.5, signals=["SIGTERM"], new_requests="refuse", readiness="keep", live_path="/livez",
    ready_path="/readyz", checks={"database": lambda: True}, check_timeout=0.5,
)  # fmt: skip
duck = app.lameduck
assert_type(duck, Lameduck)
assert_type(duck.phase, str)
assert_type(duck.ready, bool)
assert_type(duck.metrics(), str)


@duck.on_close("pool", order=-1, timeout=2)
async def close_pool() -> None: ...


def flush() -> int:
    return 3


assert_type(duck.on_flush("logs", flush)(), int)


async def events(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for event in duck.drain_notice.until(source):
        assert_type(event, bytes)
        yield event


def wsgi_application(environ: dict[str, object], start_response: object) -> list[bytes]:
    return []


async def main() -> None:
    async with Lameduck(grace=5) as own:
        async with own.job("mail") as job:
            assert_type(job, Job)
            assert_type(job.cancelled, bool)
        async with own.request("/echo.Echo/Say", peer="ipv4:127.0.0.1:5") as request:
            assert_type(request.label, str)
        await own.drain_notice
        async with own.stop_notice:
            own.shutdown(cause="deploy")
    with lameduck.wsgi(wsgi_application).lameduck.job("import"):
        pass


async def in_virtual_time() -> None:
    async with Clock(app, patience=0.1) as clock:
        await clock.advance(5)
        assert_type(clock.elapsed, float)
        await clock.sleep(1)


async def resources(pool: asyncpg.Pool) -> None:
    duck.use(pool, name="orders", order=1, timeout=2)
    duck.use(psycopg_pool.ConnectionPool())
    duck.use(psycopg_pool.AsyncConnectionPool())
    assert_type(duck.use(sqlalchemy.create_engine("sqlite://")), sqlalchemy.Engine)
    assert_type(duck.use(create_async_engine("sqlite://")), AsyncEngine)
    assert_type(duck.use(redis.Redis()), redis.Redis)
    assert_type(duck.use(redis.asyncio.Redis()), redis.asyncio.Redis)
    duck.use(await aio_pika.connect_robust())
    duck.use(AsyncExitStack())
    duck.use("postgresql://")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
