"""The programs under examples/python, as their README runs them."""

import subprocess
import sys
import time
from pathlib import Path
from signal import SIGTERM

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples/python"
SERVERS = {
    "fastapi_app": ("uvicorn fastapi_app:app --port {port}", -SIGTERM),
    "django_app": ("uvicorn django_app:app --port {port}", -SIGTERM),
    "flask_app": (
        "gunicorn -c python:lameduck.gunicorn --worker-class gthread --workers 2 --bind 127.0.0.1:{port} flask_app:app",
        0,
    ),
    "aiohttp_app": ("python aiohttp_app.py", 0),
}


@pytest.mark.parametrize("name", SERVERS)
def test_server(serve, name):
    command, status = SERVERS[name]
    source = (EXAMPLES / f"{name}.py").read_text()
    server = serve(source, command, name=name, LAMEDUCK_WINDOW="1.2", PYTHONPATH=str(EXAMPLES))
    assert server.get("/readyz").status == 200
    slow = server.connect().send("/slow")
    time.sleep(0.2)
    server.signal()
    server.await_status("/readyz", 503)
    assert server.get("/livez").status == 200
    answer = slow.answer()
    assert answer.status == 200 and b"a row" in answer.body
    assert server.end() == status
    assert "pool closed" in server.text
    assert all(report["lost"] == [] for report in server.reports) and server.reports


def test_consumer():
    process = subprocess.Popen(
        [sys.executable, "-u", "worker.py"], cwd=EXAMPLES, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "consuming\n"
    assert process.stdout.readline() == "message done\n"
    time.sleep(0.1)  # It is at the second.
    process.send_signal(SIGTERM)
    out, _ = process.communicate(timeout=15)
    assert process.returncode == 0
    assert out == "message done\npool closed\nlost: []\n"
