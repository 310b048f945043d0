"""One server, stopped once under load."""

import os
import signal
import socket
import subprocess
import time

from load import Load

CLIENTS = 40


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_server(process, port):
    limit = time.monotonic() + 20
    while time.monotonic() < limit and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                if connection.recv(1024):
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise RuntimeError("the server did not start")


def race(command, programs, folder, environment, load_seconds, patience):
    """Runs `command`, whose program is in the folder `programs`, in `folder`, and sends it SIGTERM after `load_seconds` of load.
    It must have ended `patience` seconds later."""
    port = free_port()
    program, *rest = command.format(port=port).split()
    process = subprocess.Popen(
        [programs / program, *rest],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
    )
    try:
        await_server(process, port)
        load = Load(port, CLIENTS)
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


def lost(result):
    """Requests without an answer."""
    return result["counts"]["fresh"] + result["counts"]["reused"] + result["counts"]["endless"]


HEADER = (
    "| server | | answered | lost, reused connection | lost, fresh connection | SIGTERM to exit | exit status |\n"
    "|---|---|---|---|---|---|---|"
)


def row(name, mode, results):
    """A line of that table: what several races of one server add up to."""
    total = lambda what: sum(result["counts"][what] for result in results)
    took = sorted(result["took"] for result in results)
    span = f"{took[0]:.2f} s" if len(took) == 1 else f"{took[0]:.2f}–{took[-1]:.2f} s"
    statuses = ", ".join(str(status) for status in sorted({result["status"] for result in results}))
    return f"| {name} | {mode} | {total('answered')} | {total('reused')} | {total('fresh')} | {span} | {statuses} |"
