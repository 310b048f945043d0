#!/usr/bin/env python3
"""Stops unmodified servers under load, plain and with lameduck around the application, and prints the table of docs/python-servers.md.

Run it with a Python that has lameduck and requirements.txt installed; `make table-python` does that.
"""

import argparse
import json
import os
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/defer"))

from race import HEADER, lost, race, row  # noqa: E402

PROGRAMS = Path(sys.executable).parent
GRACE = 10
WINDOW = 1
UVICORN = "uvicorn {module}:asgi --port {port} --log-level warning"
GUNICORN = "gunicorn --bind 127.0.0.1:{port} --log-level warning"

# name: the plain server, what lameduck adds to its command, in how many workers.
SERVERS = {
    "uvicorn, asyncio": (f"{UVICORN} --loop asyncio", "", 1),
    "uvicorn, uvloop": (f"{UVICORN} --loop uvloop", "", 1),
    "uvicorn, 2 workers": (f"{UVICORN} --workers 2", "", 2),
    "hypercorn": ("hypercorn {module}:asgi --workers 0 --bind 127.0.0.1:{port} --log-level WARNING", "", 1),
    "hypercorn, 1 worker": ("hypercorn {module}:asgi --bind 127.0.0.1:{port} --log-level WARNING", "", 1),
    "hypercorn, 2 workers": ("hypercorn {module}:asgi --workers 2 --bind 127.0.0.1:{port} --log-level WARNING", "", 2),
    "gunicorn, UvicornWorker, 2 workers": (
        f"{GUNICORN} --worker-class uvicorn.workers.UvicornWorker --workers 2 {{module}}:asgi",
        "",
        2,
    ),
    "gunicorn, its ASGI worker, 2 workers": (f"{GUNICORN} --worker-class asgi --workers 2 {{module}}:asgi", "", 2),
    "gunicorn, gthread, 2 workers": (
        f"{GUNICORN} --worker-class gthread --workers 2 --threads 8 {{module}}:wsgi",
        "-c python:lameduck.gunicorn",
        2,
    ),
    "gunicorn, sync, 2 workers": (f"{GUNICORN} --workers 2 {{module}}:wsgi", "-c python:lameduck.gunicorn", 2),
    "granian": ("granian {module}:asgi --interface asgi --port {port} --log-level warning", "", 1),
    # Without a GIL its workers are threads of one process.
    "granian, 2 workers": (
        "granian {module}:asgi --interface asgi --workers 2 --port {port} --log-level warning",
        "",
        1 if sysconfig.get_config_var("Py_GIL_DISABLED") else 2,
    ),
    "granian, WSGI": ("granian {module}:wsgi --interface wsgi --port {port} --log-level warning", "", 1),
    "aiohttp": ("python {module}.py {port}", "", 1),
}


def environment(reports=None, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAMEDUCK_")}
    own = {"PYTHONUNBUFFERED": "1", "LAMEDUCK_GRACE": str(GRACE), "LAMEDUCK_WINDOW": str(WINDOW)}
    return {**kept, **own, **({"LAMEDUCK_TEST_REPORTS": str(reports)} if reports else {}), **more}


def stop(name, module, load_seconds=0.7):
    """One server, stopped once under load."""
    command, addition, _ = SERVERS[name]
    if module == "wrapped":
        command = f"{command} {addition}"
    with tempfile.TemporaryDirectory() as folder:
        command = command.replace("{module}", module)
        result = race(command, PROGRAMS, HERE / "apps", environment(folder), load_seconds, GRACE + 20)
        stories = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
    return {**result, "reports": stories}


def faults(name, plain, wrapped):
    """What is wrong with the server that has lameduck, as sentences."""
    if lost(wrapped):
        yield f"{name}: {lost(wrapped)} lost with lameduck: {dict(wrapped['reasons'])}"
    if plain and plain["status"] != wrapped["status"]:
        yield f"{name}: exit status {plain['status']} plain, {wrapped['status']} with lameduck"
    workers = SERVERS[name][2]
    if len(wrapped["reports"]) != workers:
        yield f"{name}: {len(wrapped['reports'])} of {workers} workers reported"
    expected = ["shutdown requested", "window ended", "handed over", "drained", "close hooks ended", "done"]
    for report in wrapped["reports"]:
        story = [mark["what"] for mark in report["timeline"]]
        if [what for what in story if what in expected] != expected:
            yield f"{name}: the report's timeline is {story}"
        if report["lost"]:
            yield f"{name}: the report says {report['lost']}"


def versions():
    servers = ("aiohttp", "granian", "gunicorn", "hypercorn", "uvicorn", "uvloop")
    return ", ".join(f"{name} {version(name)}" for name in servers)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", action="append", choices=SERVERS, help="only this one")
    parser.add_argument("--rounds", type=int, default=1, help="stop each server so many times")
    parser.add_argument("--wrapped-only", action="store_true", help="do not measure the plain servers")
    parser.add_argument("--out", type=Path, help="put the table into this page, between its two markers")
    arguments = parser.parse_args()

    wrong, plain_losses, table = [], 0, HEADER.splitlines()
    print(HEADER)
    for name in arguments.server or SERVERS:
        plain = []
        if not arguments.wrapped_only:
            plain = [stop(name, "plain") for _ in range(arguments.rounds)]
            plain_losses += sum(map(lost, plain))
        wrapped = [stop(name, "wrapped") for _ in range(arguments.rounds)]
        for mode, results in [("plain", plain), ("with lameduck", wrapped)]:
            if results:
                table.append(row(name, mode, results))
                print(table[-1], flush=True)
        for result in wrapped:
            wrong += faults(name, plain[0] if plain else None, result)
    if not arguments.wrapped_only and not plain_losses:
        wrong.append("no plain server lost anything: this run could not have shown a difference")
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    if arguments.out and not wrong:
        write(arguments.out, [f"Python {sys.version.split()[0]}; {versions()}.", "", *table])
    return 1 if wrong else 0


def write(page, lines):
    begin, end = "<!-- table -->", "<!-- end of table -->"
    before, rest = page.read_text().split(begin)
    after = rest.split(end)[1]
    page.write_text("\n".join([before + begin, "", *lines, "", end + after]))


if __name__ == "__main__":
    sys.exit(main())
