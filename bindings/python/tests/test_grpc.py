"""gRPC: the example, as its README runs it, and each kind of call."""

import time
from pathlib import Path

import grpc
import pytest
from conftest import marks
from grpc_health.v1 import health_pb2, health_pb2_grpc

EXAMPLES = Path(__file__).resolve().parents[3] / "examples/python"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def test_stops_in_two_steps(serve):
    source = (EXAMPLES / "grpc_app.py").read_text()
    server = serve(source, "python grpc_app.py", name="grpc_app", LAMEDUCK_WINDOW="0.8", PYTHONPATH=str(EXAMPLES))
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        slow = channel.unary_unary("/demo.Demo/Slow")
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        early = slow.future(b"", wait_for_ready=True)
        time.sleep(0.3)
        server.signal()
        assert next(watch).status == NOT_SERVING, "first who asks is told"
        late = slow.future(b"")  # In the window: it is served.
        assert (early.result(timeout=10), late.result(timeout=10)) == (b"a row", b"a row")
    assert server.end() == 0
    assert "pool closed" in server.text
    requests = server.report["requests"]
    assert (requests["adopted"], requests["admitted"], requests["completed"]) == (1, 1, 2), "without the watch"
    assert marks(server.report).index("window ended") < marks(server.report).index("drained")


KINDS = """
import asyncio, grpc, lameduck.grpc, os, time

async def main():
    duck = lameduck.Lameduck(grace=10, window=0)

    async def unary(request, context):
        await asyncio.sleep(0.5)
        return request

    async def stream(request, context):
        for _ in range(5):
            await asyncio.sleep(0.1)
            yield request

    async def writes(request, context):
        for _ in range(5):
            await asyncio.sleep(0.1)
            await context.write(request)

    async def collects(requests, context):
        return b"".join([request async for request in requests])

    def thread(request, context):
        time.sleep(0.5)
        return request

    def threads(request, context):
        for _ in range(5):
            time.sleep(0.1)
            yield request

    methods = {
        "unary": grpc.unary_unary_rpc_method_handler(unary),
        "stream": grpc.unary_stream_rpc_method_handler(stream),
        "writes": grpc.unary_stream_rpc_method_handler(writes),
        "collects": grpc.stream_unary_rpc_method_handler(collects),
        "thread": grpc.unary_unary_rpc_method_handler(thread),
        "threads": grpc.unary_stream_rpc_method_handler(threads),
    }
    server = grpc.aio.server(interceptors=[lameduck.grpc.Interceptor(duck)])
    server.add_registered_method_handlers("test.Test", methods)
    server.add_insecure_port("127.0.0.1:" + os.environ["PORT"])
    async with duck:
        await lameduck.grpc.serve(server, duck)

asyncio.run(main())
"""


def test_every_kind_of_call_is_counted_and_finished(serve):
    server = serve(KINDS, "python app.py")
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        assert channel.stream_unary("/test.Test/collects")(iter([b"a", b"b"]), wait_for_ready=True) == b"ab"
        with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
            channel.unary_unary("/test.Test/nothing")(b"")
        calls = [channel.unary_unary(f"/test.Test/{name}").future(b"x") for name in ("unary", "thread")]
        streams = [channel.unary_stream(f"/test.Test/{name}")(b"x") for name in ("stream", "writes", "threads")]
        first = [next(stream) for stream in streams]
        server.signal()
        assert [call.result(timeout=5) for call in calls] == [b"x", b"x"]
        assert [len(list(stream)) for stream in streams] == [4, 4, 4] and first == [b"x"] * 3
    assert server.end() == 0
    requests = server.report["requests"]
    assert (requests["adopted"], requests["completed"]) == (5, 5)


def test_a_call_that_never_ends_is_cut_at_the_drain_deadline(serve):
    source = KINDS.replace("grace=10, window=0", "grace=2, window=0, reserve=0.5, margin=0.5").replace("sleep(0.5)", "sleep(60)", 1)
    server = serve(source, "python app.py")
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary("/test.Test/unary").future(b"x", wait_for_ready=True)
        time.sleep(0.3)
        server.signal()
        assert call.exception(timeout=10) is not None
    server.end()
    assert 0.8 < server.took < 3
    assert server.report["forced"][0]["label"] == "/test.Test/unary"
