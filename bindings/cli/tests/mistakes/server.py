"""A server that stops as it should, or with one mistake: python3 server.py [MISTAKE]. Without one it is the fixed twin of them all.

Its window is 600 ms: after that the listener closes, and what is in flight finishes. Threads and the standard library only.
"""

import base64
import hashlib
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WINDOW = 0.6
MISTAKE = sys.argv[1] if len(sys.argv) > 1 else "none"

asked = threading.Event()
leaving = threading.Event()
pool_closed = threading.Event()
handlers = set()


def has(name):
    return MISTAKE == name


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.busy = None
        handlers.add(self)

    def finish(self):
        handlers.discard(self)
        try:
            super().finish()
        except OSError:
            pass

    def handle(self):
        try:
            super().handle()
        except OSError:
            pass  # The client is gone.

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.busy = self.path
        try:
            self.route()
        finally:
            self.busy = None

    do_POST = do_GET

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if leaving.is_set() and not has("no-connection-close"):
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def route(self):
        if self.path == "/readyz":
            self.answer(503 if leaving.is_set() and not has("readiness-stays-green") else 200)
        elif self.path == "/echo":
            self.answer(200, self.rfile.read(int(self.headers["Content-Length"])))
        elif self.path == "/slow":
            time.sleep(5 if has("exit-code-lies-after-a-loss") else 0.2)
            self.answer(200, b"slow")
        elif self.path == "/large":
            self.answer(200, b"x" * (8 << 20))
        elif self.path == "/events":
            self.events()
        elif self.path == "/socket":
            self.websocket()
        elif self.path != "/":
            self.answer(404)
        elif pool_closed.is_set():
            self.answer(500, b"the pool is closed")
        elif leaving.is_set() and has("refuses-requests"):
            self.answer(503)
        else:
            self.answer(200, b"fine")

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"d\r\ndata: hello\n\n\r\n")
        asked.wait()
        self.close_connection = True
        if not has("event-stream-cut"):
            self.wfile.write(b"0\r\n\r\n")

    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        asked.wait()
        self.close_connection = True
        if not has("websocket-cut"):
            self.wfile.write(b"\x88\x02\x03\xe9")  # A close frame: 1001, going away.
            self.connection.recv(100)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


def cut(matching):
    for handler in list(handlers):
        if matching(handler.busy):
            try:
                handler.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def stop(server):
    begun = time.monotonic()
    leaving.set()
    if has("exits-at-once"):
        os._exit(0)
    if has("accept-queue-reset"):
        server.shutdown()  # It stops accepting; the listener stays open.
    if has("listener-closes-early"):
        server.shutdown()
        server.server_close()
    if has("idle-keep-alive-reset"):
        cut(lambda busy: busy is None)
    time.sleep(WINDOW / 4)
    if has("pool-closed-early"):
        pool_closed.set()
    time.sleep(WINDOW * 3 / 4)
    server.shutdown()
    server.server_close()
    asked.set()
    if has("response-cut"):
        cut(lambda busy: busy == "/large")
    while any(handler.busy for handler in list(handlers)):
        if has("exit-code-lies-after-a-loss") and time.monotonic() > begun + 1.8:
            break
        time.sleep(0.01)
    if has("exits-late"):
        time.sleep(3)
    if has("never-exits"):
        time.sleep(60)
    os._exit(1 if has("exit-code-lies") else 0)


def main():
    server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
    terminated = threading.Event()
    if not has("no-handler"):
        signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    while not terminated.wait(0.01):
        pass
    stop(server)


main()
