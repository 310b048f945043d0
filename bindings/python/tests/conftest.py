"""Real servers in processes of their own: started, asked over raw sockets, signalled, waited for."""

import itertools
import json
import os
import socket
import subprocess
import sys
import sysconfig
import textwrap
import time
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent.parent.parent / "tests/defer"))

from race import free_port  # noqa: E402

PROGRAMS = Path(sys.executable).parent
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
# grpcio is not made for it.
collect_ignore = ["test_grpc.py"] if FREE_THREADED else []
UVICORN = "uvicorn app:app --port {port} --log-level warning"


class Answer:
    def __init__(self, head):
        status, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1])
        self.headers = {}
        for line in lines:
            name, value = line.lower().split(":", 1)
            self.headers[name] = ", ".join([*filter(None, [self.headers.get(name)]), value.strip()])
        self.body = b""


class Connection:
    """A raw connection: what is on it and what comes back, byte for byte."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=15)
        self.rest = b""

    def send(self, path="/", method="GET", *headers):
        lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers, "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        return self

    def until(self, mark):
        """Reads up to `mark`."""
        while mark not in self.rest:
            data = self.socket.recv(65536)
            assert data, f"the connection ended before {mark!r}, after {self.rest!r}"
            self.rest += data
        found, _, self.rest = self.rest.partition(mark)
        return found

    def exactly(self, length):
        while len(self.rest) < length:
            data = self.socket.recv(65536)
            assert data, f"the connection ended {length - len(self.rest)} bytes too early"
            self.rest += data
        found, self.rest = self.rest[:length], self.rest[length:]
        return found

    def has_ended(self):
        """Waits for the end of the connection, before which nothing may come."""
        return self.rest == b"" and self.socket.recv(1) == b""

    def answer(self):
        """A whole answer: to its length, or its last chunk."""
        answer = Answer(self.until(b"\r\n\r\n"))
        if "chunked" in answer.headers.get("transfer-encoding", ""):
            while size := int(self.until(b"\r\n"), 16):
                answer.body += self.exactly(size)
                self.exactly(2)
            self.exactly(2)
        else:
            answer.body = self.exactly(int(answer.headers.get("content-length", 0)))
        return answer


class Server:
    def __init__(self, folder, command, environment, stdin):
        self.port = free_port()
        self.folder = folder
        self.asked = None
        program, *rest = command.format(port=self.port).split()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LAMEDUCK_")}
        paths = [HERE / "apps", folder, environment.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")]
        own = {"PORT": str(self.port), "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONUNBUFFERED": "1", "LAMEDUCK_TEST_REPORTS": str(folder)}
        self.log = open(folder / "stderr", "wb")
        self.process = subprocess.Popen(
            [PROGRAMS / program, *rest],
            cwd=folder, env={**kept, **own, **environment}, stdin=stdin, stdout=self.log, stderr=self.log,
            start_new_session=True,
        )  # fmt: skip

    def connect(self):
        return Connection(self.port)

    def get(self, path="/", *headers):
        return self.connect().send(path, "GET", *headers).answer()

    def await_start(self):
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            assert self.process.poll() is None, self.text
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"the server did not start: {self.text}")

    def await_status(self, path, status):
        """Asks until that is the answer."""
        limit = time.monotonic() + 15
        while (answer := self.get(path)).status != status:
            assert time.monotonic() < limit, f"{path} is still answered {answer.status}"
            time.sleep(0.01)

    def await_text(self, text, times=1):
        """Waits until the server has printed it."""
        limit = time.monotonic() + 15
        while self.text.count(text) < times:
            assert time.monotonic() < limit, f"never printed: {text!r}\n{self.text}"
            time.sleep(0.01)

    def signal(self, number=SIGTERM):
        self.process.send_signal(number)
        self.asked = self.asked or time.monotonic()

    def stop(self, number=SIGTERM, patience=20):
        self.signal(number)
        return self.end(patience)

    def end(self, patience=20):
        """Waits for its end, and returns the exit status; `took` is the time since the first signal."""
        status = self.process.wait(timeout=patience)
        self.took = time.monotonic() - (self.asked or time.monotonic())
        return status

    @property
    def text(self):
        return (self.folder / "stderr").read_text(errors="replace")

    @property
    def reports(self):
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("[0-9]*.json"))]

    @property
    def report(self):
        (report,) = self.reports
        return report

    def kill(self):
        try:
            os.killpg(self.process.pid, SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()


@pytest.fixture
def serve(tmp_path):
    """Starts a server with `source` as its module `name`."""
    servers = []
    numbers = itertools.count()

    def start(source, command=UVICORN, name="app", stdin=subprocess.DEVNULL, **environment):
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        prelude = "import reports\nreports.keep()\n"
        (folder / f"{name}.py").write_text(prelude + textwrap.dedent(source))
        server = Server(folder, command, environment, stdin)
        servers.append(server)
        server.await_start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def run(tmp_path):
    """Runs `source` until it prints `ready`, sends it SIGTERM, and returns its end."""
    processes = []

    def start(source, number=SIGTERM, **environment):
        prelude = "import logging, lameduck, json, os, signal, threading, time, asyncio\n"
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", prelude + textwrap.dedent(source)],
            cwd=tmp_path, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        first = b""
        # Not a byte more: what a buffer holds `communicate` does not see.
        while not first.endswith(b"\n") and (byte := os.read(process.stdout.fileno(), 1)):
            first += byte
        assert first == b"ready\n", first.decode() + process.stderr.read()
        if number is not None:
            process.send_signal(number)
        asked = time.monotonic()
        out, err = process.communicate(timeout=20)
        return process.returncode, out, err, time.monotonic() - asked

    yield start
    for process in processes:
        process.kill()
        process.wait()


def marks(report):
    return [mark["what"] for mark in report["timeline"]]
