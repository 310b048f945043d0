"""A server of any kind, stopped once under load: clients in a closed loop, each on a thread of its own with a keep-alive connection.

It needs nothing but the standard library: the project's own races load this file too.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


class LostError(Exception):
    """The connection ended before the answer did."""


def answer(connection: socket.socket, rest: bytes) -> tuple[bool, bytes]:
    """Reads one answer. Returns whether it announced that the connection closes, and what lies behind it."""
    while b"\r\n\r\n" not in rest:
        data = connection.recv(65536)
        if not data:
            raise LostError(f"end after {len(rest)} bytes")
        rest += data
    head, rest = rest.split(b"\r\n\r\n", 1)
    status, *lines = head.lower().split(b"\r\n")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields[name] = value
    if b" 200" not in status:
        raise LostError(status.decode())
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        while not rest.endswith(b"0\r\n\r\n"):
            rest += some(connection)
        rest = b""
    else:
        length = int(fields[b"content-length"])
        while len(rest) < length:
            rest += some(connection)
        rest = rest[length:]
    return b"close" in fields.get(b"connection", b""), rest


def some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise LostError("end inside a body")
    return data


class Load:
    """Begins at once and goes on until every client was refused, which is how a server that is gone looks."""

    def __init__(self, port: int, clients: int, path: str = "/") -> None:
        self.port = port
        self.request = f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode()
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.threads = [threading.Thread(target=self.client, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def client(self) -> None:
        counts: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=15)
            except ConnectionRefusedError:
                counts["refused"] += 1
                break
            except OSError as error:
                counts["fresh"] += 1
                reasons[f"connect: {error}"] += 1
                continue
            with connection:
                self.exchange(connection, counts, reasons)
        else:
            counts["endless"] += 1
        with self.lock:
            self.counts.update(counts)
            self.reasons.update(reasons)

    def exchange(self, connection: socket.socket, counts: Counter[str], reasons: Counter[str]) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kind, rest, closes = "fresh", b"", False
        while not closes:
            try:
                connection.sendall(self.request)
                closes, rest = answer(connection, rest)
            except (OSError, LostError) as error:
                counts[kind] += 1
                reasons[f"{kind}: {error}"] += 1
                return
            counts["answered"] += 1
            kind = "reused"

    def join(self, seconds: float) -> tuple[Counter[str], Counter[str]]:
        """Waits until all clients have ended, and returns what they counted."""
        limit = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0, limit - time.monotonic()))
        with self.lock:
            self.counts["endless"] += sum(thread.is_alive() for thread in self.threads)
            return self.counts, self.reasons


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_server(process: subprocess.Popen[Any], port: int, path: str = "/") -> None:
    limit = time.monotonic() + 20
    while time.monotonic() < limit and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
                if connection.recv(1024):
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise RuntimeError(f"the server did not start: {process.args!r}")


def stop_under_load(
    command: Sequence[str | os.PathLike[str]],
    port: int,
    *,
    clients: int,
    load_seconds: float,
    patience: float,
    path: str = "/",
    folder: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Runs `command`, which listens on `port`, and sends it SIGTERM after `load_seconds` of load. It must have ended `patience` seconds
    later."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        await_server(process, port, path)
        load = Load(port, clients, path)
        time.sleep(load_seconds)
        process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        status = process.wait(timeout=patience)
        took = time.monotonic() - asked
        counts, reasons = load.join(20)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    return {"counts": counts, "reasons": reasons, "took": took, "status": status}


def lost(result: dict[str, Any]) -> int:
    """Requests without an answer."""
    counts: Counter[str] = result["counts"]
    return counts["fresh"] + counts["reused"] + counts["endless"]
