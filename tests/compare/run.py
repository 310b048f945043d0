#!/usr/bin/env python3
"""Runs the same drill on the libraries of today and writes docs/comparison.md and the README's table.

    run.py [--restarts N] [--only NAME]… [--write]

Takes the command (LAMEDUCK, default target/release/lameduck) and a Python with the servers and lameduck installed: the one that runs it.
"""

import argparse
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COMMAND = os.environ.get("LAMEDUCK", str(ROOT / "target/release/lameduck"))
PROGRAMS = Path(sys.executable).parent
BALANCERS = {"nginx": "nginx", "builtin": "TCP (L4)", "haproxy": "HAProxy"}
WAIT_MS = "2000"
LOAD = ["--rate", "400", "--connections", "60", "--delay", "1ms", "--exit-timeout", "6500ms", "--keep-going", "--timeout", "5s", "--warm-up", "500ms"]
NODE = ["no handler", "server.close()", "stoppable", "terminus", "http-terminator", "http-graceful-shutdown", "fastify + close-with-grace"]
PYTHON = {
    "uvicorn": "uvicorn app:{app} --port {port} --log-level warning",
    "hypercorn": "hypercorn app:{app} --workers 0 --bind 127.0.0.1:{port} --log-level WARNING",
    "gunicorn": "gunicorn --bind 127.0.0.1:{port} --log-level warning --worker-class asgi --graceful-timeout 5 app:{app}",
    "granian": "granian app:{app} --interface asgi --port {port} --log-level warning",
}


def node(*arguments):
    return ["node", str(HERE / "server.mjs"), *arguments]


def python(server, app):
    program, *rest = PYTHON[server].replace("{app}", app).split()
    return [str(PROGRAMS / program), *rest]


CONDITIONS = """Failed requests per rolling restart of two servers under 400 requests/s, half of them POST, 60 keep-alive clients, 1 ms each way
from the balancer, no client retries. nginx with passive checks (`max_fails=1`), the others asking `/readyz` every 400 ms. lameduck has a
window of 2 s."""
README = f"""{CONDITIONS} "2 s later" is the usual recipe: fail readiness, wait 2 s, then do as the library does. With the mistakes
that each makes: [docs/comparison.md](docs/comparison.md); written by `make table-compare`.
"""
PAGE = f"""# The same drill on the libraries of today

{CONDITIONS} *2 s after readiness* is the usual recipe: readiness fails, 2 s, then the library does what it does. The mistakes are those of
`lameduck drill` ([what they mean](../bindings/cli/README.md#what-it-finds)). Written by `make table-compare`.
"""

LATER = ", 2 s after readiness"
WITH = " with lameduck"

# What is drilled, in the order of the table.
CONTENDERS = {
    **{name: node(name) for name in NODE},
    **{name + LATER: node(name, WAIT_MS) for name in NODE[1:]},
    "lameduck (Node)": node("lameduck"),
    **{name: python(name, "plain") for name in PYTHON},
    **{name + WITH: python(name, "wrapped") for name in PYTHON},
}


def drill(command, *options):
    words = [COMMAND, "drill", "--json", *options, "--", *command]
    done = subprocess.run(words, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    try:
        record = json.loads(done.stdout)
    except ValueError:
        sys.exit(f"{' '.join(words)}: no result (exit status {done.returncode}): {done.stderr}")
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(words)}: {record['sentence']} {' '.join(record['last_output'])}")
    return record


def measure(command, restarts):
    cells, found = [], {}
    for balancer in BALANCERS:
        record = drill(command, "--balancer", balancer, "--restarts", str(restarts), *LOAD)
        each = record["requests"]["failed"] / max(1, len(record["restarts"]))
        cells.append("**0**" if each == 0 else f"{each:.0f}" if each >= 10 else f"{each:.1f}")
        found.update((finding["mistake"], None) for finding in record["findings"])
    ends = [restart for restart in record["restarts"] if restart["exited_ms"]]
    took = max((restart["exited_ms"] - restart["sigterm_ms"]) / 1000 for restart in ends) if ends else float("nan")
    return cells, list(found), took


def short(measured):
    """The README's rows: what belongs together in one."""
    for name, cells in measured.items():
        if name.endswith((LATER, WITH)):
            continue
        for suffix, words in ((LATER, " / 2 s later"), (WITH, " / with lameduck")):
            if name + suffix in measured:
                cells = [f"{plain} / {other}" for plain, other in zip(cells, measured[name + suffix])]
                name += words
                break
        yield f"| {name} | {' | '.join(cells)} |"


def write(page, lines):
    """Puts the lines between the page's two markers."""
    begin, end = "<!-- comparison -->", "<!-- end of comparison -->"
    before, rest = page.read_text().split(begin)
    page.write_text("\n".join([before + begin, *lines, end + rest.split(end)[1]]))


def versions():
    names = ("@godaddy/terminus", "close-with-grace", "fastify", "http-graceful-shutdown", "http-terminator", "stoppable")
    lock = json.loads((ROOT / "bindings/node/matrix/package-lock.json").read_text())["packages"]
    of_node = [f"{name} {lock[f'node_modules/{name}']['version']}" for name in names]
    runtime = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip().lstrip("v")
    return ", ".join([f"Node {runtime}", *of_node, f"Python {sys.version.split()[0]}", *(f"{name} {version(name)}" for name in PYTHON)])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--restarts", type=int, default=4)
    parser.add_argument("--only", action="append", choices=CONTENDERS)
    parser.add_argument("--write", action="store_true", help="into docs/comparison.md and README.md")
    arguments = parser.parse_args()

    heading = f"| | {' | '.join(BALANCERS.values())} |"
    full = [f"{heading} mistakes | longest stop |", "|---|" + "---|" * (len(BALANCERS) + 2)]
    measured = {}
    print("\n".join(full), flush=True)
    lost_with, lost_without = 0, 0
    for name in arguments.only or CONTENDERS:
        cells, found, took = measure(CONTENDERS[name], arguments.restarts)
        measured[name] = cells
        full.append(f"| {name} | {' | '.join(cells)} | {', '.join(found) or 'none'} | {took:.1f} s |")
        print(full[-1], flush=True)
        lost = sum(cell != "**0**" for cell in cells)
        lost_with, lost_without = (lost_with + lost, lost_without) if "lameduck" in name else (lost_with, lost_without + lost)
    if not arguments.only and not lost_without:
        sys.exit("nobody lost anything: this run could not have shown a difference")
    if arguments.write:
        (ROOT / "docs/comparison.md").write_text("\n".join([PAGE, f"{versions()}; {arguments.restarts} restarts each.", "", *full, ""]))
        write(ROOT / "README.md", [README, heading, "|---|" + "---|" * len(BALANCERS), *short(measured)])
    return 1 if lost_with else 0


if __name__ == "__main__":
    sys.exit(main())
