"""The metrics, and the Prometheus text exposition format, version 0.0.4."""

from __future__ import annotations

from typing import Any, NamedTuple

_PHASES = ("serving", "draining", "closing", "done")
_VERDICTS = ("completed", "client_gone", "refused", "ended", "forced")


class Family(NamedTuple):
    name: str
    kind: str
    help: str
    label: str | None
    samples: list[tuple[str, float]]


def families(phase: str, ready: bool, in_flight: int, jobs: int, report: dict[str, Any] | None) -> list[Family]:
    took = report["took_ms"] / 1_000 if report else 0
    verdicts: dict[str, int] = report["requests"] if report else {}
    phases = [(one, float(one == phase)) for one in _PHASES]
    by_verdict = [(one, float(verdicts.get(one, 0))) for one in _VERDICTS]
    requests = "Requests in flight at shutdown or admitted since, by verdict."
    return [
        Family("phase", "gauge", "The phase that is on, as 1.", "phase", phases),
        Family("ready", "gauge", "Whether this server wants new traffic.", None, [("", ready)]),
        Family("requests_in_flight", "gauge", "Requests in flight.", None, [("", in_flight)]),
        Family("jobs", "gauge", "Jobs that shutdown waits for.", None, [("", jobs)]),
        Family("shutdown_seconds", "gauge", "Time since shutdown was requested.", None, [("", took)]),
        Family("shutdown_requests_total", "counter", requests, "verdict", by_verdict),
    ]


def text(families: list[Family]) -> str:
    lines: list[str] = []
    for name, kind, help, label, samples in families:
        lines.append(f"# HELP lameduck_{name} {help}")
        lines.append(f"# TYPE lameduck_{name} {kind}")
        for of, value in samples:
            labels = "" if label is None else f'{{{label}="{of}"}}'
            lines.append(f"lameduck_{name}{labels} {value:g}")
    return "\n".join(lines) + "\n"
