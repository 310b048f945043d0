#!/usr/bin/env python3
"""Stops unmodified Python servers under load, plain and held. See README.md."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from race import HEADER, lost, race, row

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
VENV = TARGET / "defer-venv"
GRACE_MS = 10_000

# name: what to run, in how many workers, when to fence. uvicorn's supervisor keeps the listener, and here it stops all
# workers, which nobody but the operator can know.
SERVERS = {
    "uvicorn, asyncio": ("uvicorn asgi:app --loop asyncio --port {port} --log-level warning", 1, "auto"),
    "uvicorn, uvloop": ("uvicorn asgi:app --loop uvloop --port {port} --log-level warning", 1, "auto"),
    "hypercorn": ("hypercorn asgi:app --workers 0 --bind 127.0.0.1:{port} --log-level WARNING", 1, "auto"),
    "gunicorn, gthread": (
        "gunicorn wsgi:app --config wsgi.py --worker-class gthread --workers 2 --threads 8 --bind 127.0.0.1:{port} "
        "--log-level warning",
        2,
        "auto",
    ),
    "gunicorn, UvicornWorker": (
        "gunicorn asgi:app --worker-class uvicorn.workers.UvicornWorker --workers 2 --bind 127.0.0.1:{port} "
        "--log-level warning",
        2,
        "auto",
    ),
    "uvicorn, 2 workers": ("uvicorn asgi:app --workers 2 --port {port} --log-level warning", 2, "always"),
    "granian": ("granian asgi:app --interface asgi --port {port} --log-level warning", 1, "auto"),
    "granian, 2 workers": (
        "granian asgi:app --interface asgi --workers 2 --port {port} --log-level warning",
        2,
        "auto",
    ),
}


def prepare():
    """The servers in a virtual environment of their own, and the library."""
    wanted = (HERE / "requirements.txt").read_text()
    stamp = VENV / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        pip = [VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)
        stamp.write_text(wanted)
    build = ["cargo", "build", "--quiet", "--locked", "--package", "lameduck-defer"]
    subprocess.run(build, check=True, cwd=ROOT)
    suffix = "dylib" if sys.platform == "darwin" else "so"
    return TARGET / "debug" / f"liblameduck_defer.{suffix}"


def stop(command, library, fencing, window_ms, load_seconds):
    """One server, stopped once under load; held if there is a library."""
    with tempfile.TemporaryDirectory() as reports:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        environment.pop("DEFER_LIBRARY", None)
        if library:
            environment |= {
                "DEFER_LIBRARY": str(library),
                "DEFER_WINDOW_MS": str(window_ms),
                "DEFER_GRACE_MS": str(GRACE_MS),
                "DEFER_FENCING": fencing,
                "DEFER_REPORTS": reports,
            }
        result = race(command, VENV / "bin", HERE, environment, load_seconds, GRACE_MS / 1000 + 20)
        stories = [json.loads(path.read_text()) for path in Path(reports).glob("*.json")]
    return {**result, "reports": stories}


def interpreters(library):
    """The signal handlers of CPython and libuv, without a server. Yields what is wrong."""
    environment = {**os.environ, "DEFER_LIBRARY": str(library), "DEFER_WINDOW_MS": "300"}
    environment |= {"DEFER_GRACE_MS": str(GRACE_MS), "DEFER_FENCING": "auto"}
    checks = {"CPython": ([VENV / "bin/python", "cpython.py"], 0)}
    if shutil.which("node"):
        checks["libuv"] = (["node", "libuv.mjs"], 3)
    for name, (command, status) in checks.items():
        end = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=60)
        print(f"{name}: {end.stdout.strip()}", file=sys.stderr)
        if (end.returncode, end.stdout) != (status, "ok\n"):
            yield f"{name}: exit status {end.returncode}\n{end.stdout}{end.stderr}"


def marks(report):
    return [mark["what"] for mark in report["timeline"]]


def faults(name, plain, held):
    """What is wrong with the held server, as sentences."""
    if lost(held):
        yield f"{name}: {lost(held)} lost while held: {dict(held['reasons'])}"
    if plain and plain["status"] != held["status"]:
        yield f"{name}: exit status {plain['status']} plain, {held['status']} held"
    workers = SERVERS[name][1]
    if len(held["reports"]) != workers:
        yield f"{name}: {len(held['reports'])} of {workers} workers reported"
    for report in held["reports"]:
        story = marks(report)
        told = [what for what in story if what in ("window ended", "handed over", "drained", "close hooks ended", "done")]
        if told != ["window ended", "handed over", "drained", "close hooks ended", "done"]:
            yield f"{name}: the report's timeline is {story}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", action="append", choices=SERVERS, help="only this one")
    parser.add_argument("--rounds", type=int, default=1, help="stop each server so many times")
    parser.add_argument("--window", type=int, default=1000, metavar="MS")
    parser.add_argument("--held-only", action="store_true", help="do not measure the plain servers")
    parser.add_argument("--fencing", choices=["auto", "always", "never"], help="instead of what fits each server")
    arguments = parser.parse_args()

    library = prepare()
    wrong, plain_losses = list(interpreters(library)), 0
    print(HEADER)
    for name in arguments.server or SERVERS:
        command, _, fencing = SERVERS[name]
        fencing = arguments.fencing or fencing
        plain = []
        if not arguments.held_only:
            plain = [stop(command, None, fencing, 0, 0.7) for _ in range(arguments.rounds)]
            print(row(name, "plain", plain), flush=True)
            plain_losses += sum(map(lost, plain))
        held = [stop(command, library, fencing, arguments.window, 0.7) for _ in range(arguments.rounds)]
        print(row(name, "held", held), flush=True)
        for result in held:
            wrong += faults(name, plain[0] if plain else None, result)
    if not arguments.held_only and not plain_losses:
        wrong.append("no plain server lost anything: this run could not have shown a difference")
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
