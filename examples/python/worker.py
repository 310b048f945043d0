"""Nothing else. A consumer: it is told when draining begins, and finishes what it has begun."""

import asyncio

import lameduck
from pool import Pool


async def main():
    pool = Pool()
    async with lameduck.Lameduck(grace=10, window=0) as duck:
        duck.on_close("database", pool.close)
        print("consuming", flush=True)
        while not duck.drain_notice.is_set():
            async with duck.job("message"):
                await asyncio.sleep(0.5)
                await pool.query()
                print("message done", flush=True)
    print("lost:", duck.report["lost"], flush=True)


asyncio.run(main())
