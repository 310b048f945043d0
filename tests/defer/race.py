"""One server, stopped once under load, as a row of a table."""

import importlib.util
from pathlib import Path

# By its file: beside it are modules that are called as other packages are.
_FILE = Path(__file__).resolve().parent.parent.parent / "bindings/python/lameduck/_load.py"
_SPEC = importlib.util.spec_from_file_location("lameduck_load", _FILE)
_load = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_load)
free_port, lost = _load.free_port, _load.lost

CLIENTS = 40


def race(command, programs, folder, environment, load_seconds, patience):
    """Runs `command`, whose program is in the folder `programs`, in `folder`."""
    port = free_port()
    program, *rest = command.format(port=port).split()
    return _load.stop_under_load(
        [programs / program, *rest], port,
        clients=CLIENTS, load_seconds=load_seconds, patience=patience, folder=folder, environment=environment,
    )  # fmt: skip


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
