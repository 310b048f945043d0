"""The consumers of an aio-pika connection: paused when draining begins; what they were given is done first."""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any

log = logging.getLogger("lameduck")


class Consumers:
    """Counts what is delivered on the channels of a connection, from their first consumer on."""

    def __init__(self, connection: Any) -> None:
        if not inspect.isclass(getattr(connection, "CHANNEL_CLASS", None)) or not hasattr(connection, "transport"):
            raise TypeError(
                "lameduck: of aio-pika use() takes what connect() or connect_robust() returned, whose channels are closed with it, "
                f"not {type(connection).__name__!r}"
            )
        if any(getattr(getattr(connection.transport, "connection", None), "channels", {}).values()):
            raise TypeError(
                "lameduck: use() comes before the first channel: this connection of aio-pika has one, whose messages nobody counted"
            )
        self._connection = connection
        self._channels: dict[Any, _Channel] = {}
        self._draining = False

    def watch(self) -> None:
        """A channel of aio-pika gets another one of the protocol after each reconnection: each is asked for by this method."""
        base = self._connection.CHANNEL_CLASS

        async def get_underlay_channel(channel: Any) -> Any:
            underlay = await base.get_underlay_channel(channel)
            if underlay not in self._channels and not underlay.is_closed:
                self._channels[underlay] = _Channel(underlay, lambda: self._draining)
                underlay.closing.add_done_callback(partial(self._forget, underlay))
            return underlay

        self._connection.CHANNEL_CLASS = type(base.__name__, (base,), {"get_underlay_channel": get_underlay_channel})

    def _forget(self, underlay: Any, _: object) -> None:
        self._channels.pop(underlay).gone()

    async def drain(self) -> None:
        self._draining = True
        _raise_first(await asyncio.gather(*(channel.drain() for channel in self._channels.copy().values()), return_exceptions=True))


class _Channel:
    """A channel of the protocol (aiormq), and the messages in hand: delivered, and not acknowledged or still being handled."""

    def __init__(self, channel: Any, draining: Callable[[], bool]) -> None:
        self._channel = channel
        self._draining = draining
        self._unacknowledged: set[int] = set()
        self._handled = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._consume = channel.basic_consume
        channel.basic_consume = self._basic_consume
        for way in ("basic_ack", "basic_nack", "basic_reject"):
            setattr(channel, way, self._settling(getattr(channel, way)))

    async def drain(self) -> None:
        cancelled = await asyncio.gather(*(self._cancel(tag) for tag in self._channel.consumers), return_exceptions=True)
        # Until then messages may come.
        await self._idle.wait()
        _raise_first(cancelled)

    def gone(self) -> None:
        """With its channel the broker gives its messages to others."""
        self._unacknowledged.clear()
        self._look()

    async def _basic_consume(self, queue: str, consumer_callback: Any, *, no_ack: bool = False, **options: Any) -> Any:
        if self._draining():
            # Not an error: after a reconnection the connection restores its consumers, and must live for those who publish.
            log.info("nothing is consumed from %r any more: the process is draining", queue)
            return SimpleNamespace(consumer_tag=options.get("consumer_tag") or f"lameduck.{uuid.uuid4().hex}")

        async def handle(message: Any) -> Any:
            if not no_ack:
                self._unacknowledged.add(message.delivery_tag)
            self._handled += 1
            self._idle.clear()
            try:
                result = consumer_callback(message)
                return await result if inspect.isawaitable(result) else result
            finally:
                self._handled -= 1
                self._look()

        return await self._consume(queue, handle, no_ack=no_ack, **options)

    def _settling(self, settle: Any) -> Any:
        async def settled(delivery_tag: int, multiple: bool = False, **options: Any) -> None:
            if multiple:
                options["multiple"] = multiple
            await settle(delivery_tag, **options)
            if multiple:
                self._unacknowledged -= {tag for tag in self._unacknowledged if tag <= delivery_tag or delivery_tag == 0}
            else:
                self._unacknowledged.discard(delivery_tag)
            self._look()

        return settled

    def _look(self) -> None:
        if not self._unacknowledged and not self._handled:
            self._idle.set()

    async def _cancel(self, tag: str) -> None:
        try:
            await self._channel.basic_cancel(tag)
        except (Exception, asyncio.CancelledError):
            # With its channel the consumer is gone as well.
            if not self._channel.is_closed:
                raise


def _raise_first(results: Iterable[object]) -> None:
    """Of all that ended: what the others have in hand is done first."""
    for result in results:
        if isinstance(result, BaseException):
            raise result
