"""grpcio. A server of gRPC's own asyncio API; without generated code, to stay one file."""

import asyncio
import os

import grpc
import lameduck
from pool import Pool


async def main():
    pool = Pool()
    async with lameduck.Lameduck(grace=30) as duck:
        duck.on_close("database", pool.close)

        async def slow(request, context):
            async with duck.request("/demo.Demo/Slow", context.peer()):
                await asyncio.sleep(1)
                return (await pool.query()).encode()

        server = grpc.aio.server()
        methods = {"Slow": grpc.unary_unary_rpc_method_handler(slow)}
        server.add_registered_method_handlers("demo.Demo", methods)
        server.add_insecure_port(f"127.0.0.1:{os.environ.get('PORT', 50051)}")
        await server.start()
        # The window is over: now GOAWAY, and what is in flight ends.
        await duck.stop_notice
        await server.stop(grace=20)


asyncio.run(main())
