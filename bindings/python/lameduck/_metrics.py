"""The Prometheus text exposition format, version 0.0.4."""

from __future__ import annotations

from typing import Any

_PHASES = ("serving", "draining", "closing", "done")
_VERDICTS = ("completed", "client_gone", "refused", "ended", "forced")


def prometheus(phase: str, ready: bool, in_flight: int, jobs: int, report: dict[str, Any] | None) -> str:
    lines: list[str] = []

    def family(name: str, kind: str, help: str, samples: list[tuple[str, float]]) -> None:
        lines.append(f"# HELP lameduck_{name} {help}")
        lines.append(f"# TYPE lameduck_{name} {kind}")
        lines.extend(f"lameduck_{name}{labels} {value:g}" for labels, value in samples)

    took = report["took_ms"] / 1_000 if report else 0
    verdicts: dict[str, int] = report["requests"] if report else {}
    family("phase", "gauge", "The phase that is on, as 1.", [(f'{{phase="{one}"}}', one == phase) for one in _PHASES])
    family("ready", "gauge", "Whether this server wants new traffic.", [("", ready)])
    family("requests_in_flight", "gauge", "Requests in flight.", [("", in_flight)])
    family("jobs", "gauge", "Jobs that shutdown waits for.", [("", jobs)])
    family("shutdown_seconds", "gauge", "Time since shutdown was requested.", [("", took)])
    family(
        "shutdown_requests_total",
        "counter",
        "Requests in flight at shutdown or admitted since, by verdict.",
        [(f'{{verdict="{one}"}}', verdicts.get(one, 0)) for one in _VERDICTS],
    )
    return "\n".join(lines) + "\n"
