"""Event streams end cleanly, WebSockets close with a code and a reason; whoever writes them is told first."""

import signal
import time

import pytest
from websockets.sync.client import connect
from conftest import UVICORN, marks

EVENTS = """
import asyncio, lameduck, answers

async def ticks():
    while True:
        yield b"tick"
        await asyncio.sleep(0.02)

async def application(scope, receive, send):
    assert scope["type"] == "http"
    await answers.begin_events(send)
    BODY

app = lameduck.asgi(application, grace=5, window=0.6)
duck = app.lameduck
"""
HEEDLESS = """
    async for tick in ticks():
        await answers.event(send, tick)
"""
UNTIL = """
    async for tick in duck.drain_notice.until(ticks()):
        await answers.event(send, tick)
    await answers.event(send, b"bye")
    await send({"type": "http.response.body", "body": b""})
"""
SCOPED = """
    async with duck.drain_notice:
        while True:
            await answers.event(send, b"tick")
            await asyncio.sleep(0.02)
    await answers.event(send, b"bye")
    await send({"type": "http.response.body", "body": b""})
"""
AWAITED = """
    await answers.event(send, b"tick")
    await duck.drain_notice
    await answers.event(send, b"bye")
    await send({"type": "http.response.body", "body": b""})
"""
SERVERS = {
    "uvicorn": UVICORN,
    "hypercorn": "hypercorn app:app --workers 0 --bind 127.0.0.1:{port} --log-level WARNING",
    "granian": "granian app:app --interface asgi --port {port} --log-level warning",
}


@pytest.mark.parametrize("server", SERVERS)
def test_a_heedless_event_stream_ends_cleanly_in_the_window(serve, server):
    server = serve(EVENTS.replace("    BODY", HEEDLESS), SERVERS[server])
    stream = server.connect().send("/events")
    assert stream.until(b"data: tick\n\n")
    server.signal()
    assert b"tick" in stream.until(b"0\r\n\r\n")
    assert stream.has_ended()
    server.end()
    assert server.took < 4
    assert server.report["requests"]["ended"] == 1
    assert server.report["lost"] == []


@pytest.mark.parametrize("body", [UNTIL, SCOPED, AWAITED], ids=["until", "async with", "await"])
def test_an_event_stream_that_heeds_its_notice_says_goodbye(serve, body):
    server = serve(EVENTS.replace("    BODY", body))
    stream = server.connect().send("/events")
    stream.until(b"tick\n\n")
    server.signal()
    asked = time.monotonic()
    assert b"data: bye" in stream.until(b"0\r\n\r\n")
    assert time.monotonic() - asked < 0.3, "at once, not when the server ends what has not ended"
    assert server.end() == -signal.SIGTERM
    assert server.report["requests"]["ended"] == 1


ECHO = """
import lameduck

async def application(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})

app = lameduck.asgi(application, grace=5, window=0.6)
"""


@pytest.mark.parametrize("server", SERVERS)
def test_a_websocket_closes_1012_with_a_reason(serve, server):
    server = serve(ECHO, SERVERS[server])
    with connect(f"ws://127.0.0.1:{server.port}/") as socket:
        socket.send("hello")
        assert socket.recv(timeout=5) == "hello"
        server.signal()
        with pytest.raises(Exception):
            socket.recv(timeout=5)
        assert (socket.close_code, socket.close_reason) == (1012, "the server is restarting")
    server.end()
    assert server.took < 4
    assert server.report["lost"] == []
    assert "window ended" in marks(server.report)
