"""A server of Starlette that uses databases through their usual clients: what `python.mjs` has uvicorn run, and stops.

GIVEN (JSON) says which (`clients`), where (`port`), whether the program closes them itself (`close`), and what else they need.
"""

import asyncio
import contextlib
import json
import logging
import os
import threading

import lameduck
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.routing import Route

GIVEN = json.loads(os.environ["GIVEN"])
_printing = threading.Lock()


def say(event, **more):
    with _printing:
        print(json.dumps({"event": event, **more}), flush=True)


class Reports(logging.Handler):
    def emit(self, record):
        report = getattr(record, "lameduck_report", None)
        if report is not None:
            say("report", report=report)


async def postgres(port):
    """Each way to PostgreSQL: how to ask it something that takes a while, and how the program would close it itself."""
    import asyncpg
    import psycopg_pool
    import sqlalchemy
    from sqlalchemy.ext.asyncio import create_async_engine

    where = f"test@127.0.0.1:{port}/postgres"
    asyncpg_pool = duck.use(await asyncpg.create_pool(f"postgresql://{where}", min_size=1, max_size=4))
    psycopg_async = duck.use(psycopg_pool.AsyncConnectionPool(f"postgresql://{where}", min_size=1, max_size=4, open=False))
    psycopg_sync = duck.use(psycopg_pool.ConnectionPool(f"postgresql://{where}", min_size=1, max_size=4, open=True))
    engine_async = duck.use(create_async_engine(f"postgresql+asyncpg://{where}"))
    engine_sync = duck.use(sqlalchemy.create_engine(f"postgresql+psycopg://{where}"))
    # Nobody ever uses it.
    duck.use(asyncpg.create_pool(f"postgresql://{where}"), name="unused")
    await psycopg_async.open()

    async def ask_asyncpg(seconds):
        return await asyncpg_pool.fetchval("SELECT 'ok' FROM pg_sleep($1)", seconds)

    async def ask_psycopg_async(seconds):
        async with psycopg_async.connection() as connection:
            row = await (await connection.execute("SELECT 'ok' FROM pg_sleep(%s)", [seconds])).fetchone()
            return row[0]

    def ask_psycopg_sync(seconds):
        with psycopg_sync.connection() as connection:
            return connection.execute("SELECT 'ok' FROM pg_sleep(%s)", [seconds]).fetchone()[0]

    statement = sqlalchemy.text("SELECT 'ok' FROM pg_sleep(:seconds)")

    async def ask_engine_async(seconds):
        async with engine_async.connect() as connection:
            return (await connection.execute(statement, {"seconds": seconds})).scalar_one()

    def ask_engine_sync(seconds):
        with engine_sync.connect() as connection:
            return connection.execute(statement, {"seconds": seconds}).scalar_one()

    # The second is the one that is asked of a database that hangs: a request that is cancelled there ends at once, where psycopg asks
    # the server to cancel it, and waits for that.
    ways = [ask_psycopg_async, ask_asyncpg, ask_psycopg_sync, ask_engine_async, ask_engine_sync]
    return ways, [asyncpg_pool.close, psycopg_async.close, psycopg_sync.close, engine_async.dispose, engine_sync.dispose]


async def redis(port):
    """Redis is quick: the request asks at its beginning and at its end."""
    import time

    import redis
    import redis.asyncio

    client_async = duck.use(redis.asyncio.Redis(port=port, decode_responses=True))
    client_sync = duck.use(redis.Redis(port=port, decode_responses=True), name="redis.Redis, sync")

    async def ask_async(seconds):
        await client_async.set("said", "ok")
        await asyncio.sleep(seconds)
        return await client_async.get("said")

    def ask_sync(seconds):
        client_sync.set("said", "ok")
        time.sleep(seconds)
        return client_sync.get("said")

    return [ask_async, ask_sync], [client_async.aclose, client_sync.close]


async def rabbitmq(port):
    """Each request publishes a message. One consumer is called with them, another one iterates over the same queue."""
    import aio_pika

    url = f"amqp://127.0.0.1:{port}"
    async with await aio_pika.connect(url) as used, used.channel():
        try:
            duck.use(used)
        except TypeError as error:
            say("refused", message=str(error))
    connection = duck.use(await aio_pika.connect_robust(url, reconnect_interval=0.1))
    connection.reconnect_callbacks.add(lambda _: say("reconnected"))
    numbers = iter(range(1_000_000))

    async def handle(message):
        number = int(message.body)
        say("begun", number=number)
        await asyncio.sleep(GIVEN["takes"] / 1000)
        say("done", number=number)
        await [message.ack, message.reject, message.nack][number % 3](**{"requeue": False} if number % 3 else {})

    async def consumed():
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=2)
        return await channel.declare_queue(GIVEN["queue"])

    async def iterate(queue):
        async with queue.iterator() as messages:
            async for message in messages:
                await handle(message)
        say("iterated")

    queue = await consumed()
    await queue.consume(handle)

    if GIVEN.get("late"):

        @duck.on_drain("late", order=1)
        async def late():
            await queue.consume(handle)
            say("late")

    if not GIVEN.get("lone"):
        tasks.add(asyncio.create_task(iterate(await consumed())))
    publisher = await connection.channel()

    async def ask(seconds):
        await asyncio.sleep(seconds)
        number = next(numbers)
        await publisher.default_exchange.publish(aio_pika.Message(str(number).encode()), GIVEN["queue"])
        say("published", number=number)
        return str(number)

    return [ask], [connection.close]


async def databases(ports):
    both = await postgres(ports["postgres"]), await redis(ports["redis"])
    return [sum(lists, []) for lists in zip(*both)]


@contextlib.asynccontextmanager
async def lifespan(_):
    more, closes = await {"databases": databases, "rabbitmq": rabbitmq}[GIVEN["clients"]](GIVEN["port"])
    ways.extend(more)
    if "close" in GIVEN:

        @duck.on_close("mine", order=0 if GIVEN["close"] == "together" else -1)
        async def close():
            await asyncio.gather(*(close() if asyncio.iscoroutinefunction(close) else run_in_threadpool(close) for close in closes))

    yield


async def ask(request):
    way = ways[turns["next"] % len(ways)]
    turns["next"] += 1
    say("asked")
    seconds = int(request.query_params["ms"]) / 1000
    return PlainTextResponse(await (way(seconds) if asyncio.iscoroutinefunction(way) else run_in_threadpool(way, seconds)))


ways, turns, tasks = [], {"next": 0}, set()
log = logging.getLogger("lameduck")
log.setLevel(logging.INFO)
log.addHandler(Reports())
app = lameduck.asgi(Starlette(routes=[Route("/ask", ask)], lifespan=lifespan))
duck = app.lameduck
