"""The service in Python, as `server.mjs` is in Node: orders are written to PostgreSQL and shipped by jobs in RabbitMQ, whose consumer is in
the same process. POSTGRES, REDIS and RABBITMQ are ports; WHO stops it: lameduck | bare (lameduck that knows of no database: the
lifespan closes them, as it does without) | plain.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random

import aio_pika
import asyncpg
import lameduck
import redis.asyncio
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

WHO = os.environ["WHO"]
WHERE = f"test@127.0.0.1:{os.environ['POSTGRES']}/postgres"
BEGUN = "INSERT INTO shipments (key, begun) VALUES ($1, 1) ON CONFLICT (key) DO UPDATE SET begun = shipments.begun + 1"
DONE = "UPDATE shipments SET done = done + 1 WHERE key = $1"
LOOK = text("SELECT count(*), pg_sleep(:takes) FROM orders WHERE key = :key")

engine = create_async_engine(f"postgresql+asyncpg://{WHERE}", pool_size=8)
cache = redis.asyncio.Redis(port=int(os.environ["REDIS"]))
turns = itertools.count()


@contextlib.asynccontextmanager
async def lifespan(_):
    pool = await asyncpg.create_pool(f"postgresql://{WHERE}", min_size=2, max_size=8)
    broker = await aio_pika.connect_robust(f"amqp://127.0.0.1:{os.environ['RABBITMQ']}")
    if WHO == "lameduck":
        for client in (pool, broker, engine, cache):
            app.lameduck.use(client)

    async def ship(message):
        """Counts that it was begun and that it was done; one in twenty takes 700 ms."""
        async with message.process(requeue=True):
            job = json.loads(message.body)
            await pool.execute(BEGUN, job["key"])
            await asyncio.sleep(0.7 if job["slow"] else random.random() / 50)
            await pool.execute(DONE, job["key"])

    consumer = await broker.channel()
    await consumer.set_qos(prefetch_count=4)
    await (await consumer.declare_queue("orders", durable=True)).consume(ship)
    api.state.pool, api.state.publisher = pool, await broker.channel()
    yield
    await broker.close()
    await pool.close()
    await engine.dispose()
    await cache.aclose()


api = FastAPI(lifespan=lifespan)


@api.get("/orders/{key}", response_class=PlainTextResponse)
async def look(key: str):
    async with engine.connect() as connection:
        seen, _ = (await connection.execute(LOOK, {"takes": 0.3 if key.endswith("0") else 0, "key": key})).one()
    await cache.incr("reads")
    return f"order {key}: {seen}"


@api.post("/orders", response_class=PlainTextResponse)
async def accept(request: Request):
    key = (await request.body()).decode()
    await api.state.pool.execute("INSERT INTO orders (key) VALUES ($1)", key)
    job = json.dumps({"key": key, "slow": next(turns) % 20 == 0}).encode()
    message = aio_pika.Message(job, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await api.state.publisher.default_exchange.publish(message, "orders")
    return f"accepted {key}"


if WHO == "plain":
    app = api
    api.add_api_route("/readyz", lambda: "ready")
else:
    app = lameduck.asgi(api, grace=15, window=2, ready_path="/readyz")
