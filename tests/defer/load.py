"""Clients in a closed loop, each on a thread of its own with a keep-alive connection."""

import socket
import threading
import time
from collections import Counter

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


class Lost(Exception):
    """The connection ended before the answer did."""


def answer(connection, rest):
    """Reads one answer. Returns whether it announced that the connection closes, and what lies behind it."""
    while b"\r\n\r\n" not in rest:
        data = connection.recv(65536)
        if not data:
            raise Lost(f"end after {len(rest)} bytes")
        rest += data
    head, rest = rest.split(b"\r\n\r\n", 1)
    status, *lines = head.lower().split(b"\r\n")
    fields = dict(line.split(b":", 1) for line in lines)
    if b" 200" not in status:
        raise Lost(status.decode())
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


def some(connection):
    data = connection.recv(65536)
    if not data:
        raise Lost("end inside a body")
    return data


class Load:
    """Begins at once and goes on until every client was refused, which is how a server that is gone looks."""

    def __init__(self, port, clients):
        self.port = port
        self.lock = threading.Lock()
        self.counts = Counter()
        self.reasons = Counter()
        self.threads = [threading.Thread(target=self.client, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def client(self):
        counts, reasons = Counter(), Counter()
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

    @staticmethod
    def exchange(connection, counts, reasons):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kind, rest, closes = "fresh", b"", False
        while not closes:
            try:
                connection.sendall(REQUEST)
                closes, rest = answer(connection, rest)
            except (OSError, Lost) as error:
                counts[kind] += 1
                reasons[f"{kind}: {error}"] += 1
                return
            counts["answered"] += 1
            kind = "reused"

    def join(self, seconds):
        """Waits until all clients have ended, and returns what they counted."""
        limit = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0, limit - time.monotonic()))
        with self.lock:
            self.counts["endless"] += sum(thread.is_alive() for thread in self.threads)
            return self.counts, self.reasons
