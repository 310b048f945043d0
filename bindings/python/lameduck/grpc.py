"""gRPC's asyncio server.

``server = grpc.aio.server(interceptors=[lameduck.grpc.Interceptor(duck)])``, then ``await lameduck.grpc.serve(server, duck)`` inside
``async with duck:``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from ._duck import Lameduck

_HEALTH = "/grpc.health.v1.Health/"


class Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Counts calls; shutdown waits for them, and the report names them. Health checks are not counted: a watch never ends."""

    def __init__(self, duck: Lameduck) -> None:
        if not isinstance(duck, Lameduck):
            raise TypeError(f"lameduck: Interceptor() takes a Lameduck, not {duck!r}")
        self._duck = duck

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_HEALTH):
            return handler
        asked = "stream" if handler.request_streaming else "unary"
        answered = "stream" if handler.response_streaming else "unary"
        counted = _counted(self._duck, method, getattr(handler, f"{asked}_{answered}"))
        return getattr(grpc, f"{asked}_{answered}_rpc_method_handler")(
            counted, handler.request_deserializer, handler.response_serializer
        )


def _counted(duck: Lameduck, method: str, inner: Any) -> Any:
    """The behaviour, as a function of the same kind: gRPC looks at that."""
    if inspect.isasyncgenfunction(inner):

        async def generator(request: Any, context: Any) -> Any:
            async with duck.request(method, context.peer()):
                async for message in inner(request, context):
                    yield message

        return generator
    if inspect.iscoroutinefunction(inner):

        async def coroutine(request: Any, context: Any) -> Any:
            async with duck.request(method, context.peer()):
                return await inner(request, context)

        return coroutine
    if inspect.isgeneratorfunction(inner):

        def in_thread(request: Any, context: Any) -> Any:
            with duck.request(method, context.peer()):
                yield from inner(request, context)

        return in_thread

    def call(request: Any, context: Any) -> Any:
        with duck.request(method, context.peer()):
            return inner(request, context)

    return call


async def serve(server: Any, duck: Lameduck, health: Any = None) -> None:
    """Starts the server, and stops it in two steps: when draining begins ``health`` (a ``HealthServicer``) says NOT_SERVING to all and
    the server goes on serving; at the end of the window it sends GOAWAY, and what is in flight has until the drain deadline."""
    if health is not None:
        if not hasattr(health, "enter_graceful_shutdown"):
            raise TypeError(f"lameduck: health is a HealthServicer of grpc_health.v1.health, not {health!r}")
        duck.on_drain("gRPC health", health.enter_graceful_shutdown)
    await server.start()
    await duck.stop_notice
    await server.stop(grace=_time_left(duck))


def _time_left(duck: Lameduck) -> float:
    """Seconds until the drain deadline."""
    report = duck.report or {}
    policy = {setting["name"]: setting["ms"] for setting in report.get("policy", ())}
    grace = policy.get("grace")
    if not isinstance(grace, (int, float)):
        return math.inf
    return max(0.0, float(grace - policy["margin"] - policy["reserve"] - report["took_ms"]) / 1_000)
