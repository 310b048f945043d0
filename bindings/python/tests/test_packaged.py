"""The wheel in an empty environment, where there is no Rust: the README's example runs and stops."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from conftest import FREE_THREADED, free_port

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent.parent / "target"))
AROUND = """
class pool:
    async def close():
        print("pool closed", flush=True)

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

"""


def ask(port, path):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_the_readme_runs_without_rust(tmp_path):
    (wheel,) = TARGET.resolve().joinpath("wheels").glob("*.whl")
    serves = "cp{0}{1}-cp{0}{1}t".format(*sys.version_info) if FREE_THREADED else "cp310-abi3"
    assert re.fullmatch(rf"lameduck-[0-9.]+-{serves}-manylinux_2_[0-9]+_\w+\.whl", wheel.name), "one for all Pythons, on any Linux as new"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    programs = tmp_path / "venv/bin"
    environment = {"PATH": str(programs), "HOME": str(tmp_path)}
    pip = [programs / "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    subprocess.run([*pip, wheel, f"uvicorn=={version('uvicorn')}"], env={**os.environ, **environment}, check=True)
    (example,) = re.findall(r"```python\n(.*?)```", (HERE.parent / "README.md").read_text(), re.DOTALL)[:1]
    (tmp_path / "main.py").write_text(AROUND + example)
    port = free_port()
    server = subprocess.Popen(
        [programs / "uvicorn", "main:app", "--port", str(port)],
        cwd=tmp_path, env={**environment, "LAMEDUCK_WINDOW": "0.3"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        limit = time.monotonic() + 20
        while True:
            try:
                assert b'"phase": "serving"' in ask(port, "/readyz")
                break
            except OSError:
                assert time.monotonic() < limit and server.poll() is None, server.stdout.read()
                time.sleep(0.05)
        assert ask(port, "/").endswith(b"ok")
        server.send_signal(signal.SIGTERM)
        said, _ = server.communicate(timeout=20)
    finally:
        server.kill()
    assert server.returncode == -signal.SIGTERM and "pool closed" in said, said
