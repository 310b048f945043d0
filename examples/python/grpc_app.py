"""grpcio, grpcio-health-checking. A server of gRPC's own asyncio API; without generated code, to stay one file."""

import asyncio
import os

import grpc
import lameduck.grpc
from grpc_health.v1 import health, health_pb2_grpc
from pool import Pool


async def main():
    pool = Pool()
    duck = lameduck.Lameduck(grace=30)
    duck.on_close("database", pool.close)

    async def slow(request, context):
        await asyncio.sleep(1)
        return (await pool.query()).encode()

    server = grpc.aio.server(interceptors=[lameduck.grpc.Interceptor(duck)])
    methods = {"Slow": grpc.unary_unary_rpc_method_handler(slow)}
    server.add_registered_method_handlers("demo.Demo", methods)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(f"127.0.0.1:{os.environ.get('PORT', 50051)}")
    async with duck:
        # At the end of the window: GOAWAY, and what is in flight ends.
        await lameduck.grpc.serve(server, duck, servicer)


asyncio.run(main())
