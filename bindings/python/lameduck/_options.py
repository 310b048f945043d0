"""The options, checked at once: a mistake shows at start and not at SIGTERM."""

from __future__ import annotations

import math
import os
import secrets
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, cast

from ._lameduck import Policy, report_file, stdin_is_terminal

Check = Callable[[], object]
"""A readiness check, sync or async: returns when ready; raises or returns ``False`` when not."""


class Options(TypedDict, total=False):
    """What ``asgi()``, ``wsgi()`` and ``Lameduck()`` take. Times are seconds."""

    grace: float
    window: float
    margin: float
    reserve: float
    settle: float
    quiet: float
    abort_lead: float
    window_idle: float
    new_requests: Literal["serve", "refuse"]
    readiness: Literal["fail", "keep"]
    seed: int
    signals: Sequence[int | str]
    live_path: str
    ready_path: str
    checks: Mapping[str, Check]
    check_timeout: float
    report_file: str | os.PathLike[str]


_TIMES = ("grace", "window", "margin", "reserve", "settle", "quiet", "abort_lead", "window_idle")
_CHOICES = {"new_requests": ("serve", "refuse"), "readiness": ("fail", "keep")}
_OTHERS = ("seed", "signals", "live_path", "ready_path", "checks", "check_timeout", "report_file")
_KNOWN = (*_TIMES, *_CHOICES, *_OTHERS)


@dataclass(frozen=True)
class Checked:
    policy: Policy
    signals: list[int]
    live_path: str | None
    ready_path: str | None
    checks: dict[str, Check]
    check_timeout: float
    report_file: str | None


def check(given: Mapping[str, Any], ceiling: float | None = None) -> Checked:
    """``ceiling``: what a parent process allows, in force unless ``grace`` is set."""
    for name in given:
        if name not in _KNOWN:
            raise TypeError(f"lameduck: unknown option '{name}'; there are {', '.join(_KNOWN)}")
    given = {name: value for name, value in given.items() if value is not None}
    settings: dict[str, Any] = {name: seconds(name, given[name]) for name in _TIMES if name in given}
    if ceiling is not None and "LAMEDUCK_GRACE" not in os.environ:
        settings.setdefault("grace", ceiling)
    for name, choices in _CHOICES.items():
        if name in given:
            settings[name] = _choice(name, given[name], choices)
    settings["seed"] = _seed(given.get("seed"))
    try:
        policy = Policy(dict(os.environ), interactive=stdin_is_terminal(), **settings)
    except ValueError as error:
        raise ValueError(f"lameduck: {error}") from None
    return Checked(
        policy,
        _signals(given.get("signals")),
        _path("live_path", given.get("live_path")),
        _path("ready_path", given.get("ready_path")),
        _checks(given.get("checks")),
        seconds("check_timeout", given.get("check_timeout", 1.0)),
        report_file(dict(os.environ)) or _file(given.get("report_file")),
    )


def seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"lameduck: {name} is a number of seconds such as 30 or 0.5, not {value!r}")
    if not value >= 0:
        raise ValueError(f"lameduck: {name} is {value}; it must be a number of seconds, zero or more")
    if math.isinf(value) and name != "grace":
        raise ValueError(f"lameduck: {name} is infinite; only grace may be")
    return float(value)


def named(what: str, name: object) -> str:
    if not isinstance(name, str) or not name:
        raise TypeError(f"lameduck: a {what} needs a name for the report, not {name!r}")
    return name


def whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"lameduck: {name} is a whole number, not {value!r}")
    if not -(2**31) <= value < 2**31:
        raise ValueError(f"lameduck: {name} is {value}; it must fit 32 bits")
    return value


def _choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    rule = " or ".join(map(repr, choices))
    if not isinstance(value, str):
        raise TypeError(f"lameduck: {name} is {rule}, not {value!r}")
    if value not in choices:
        raise ValueError(f"lameduck: {name} is {rule}, not {value!r}")
    return value


def _seed(value: object) -> int:
    if value is None:
        return secrets.randbits(64)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"lameduck: seed is a whole number, not {value!r}")
    if not 0 <= value < 2**64:
        raise ValueError(f"lameduck: seed is {value}; it must be between 0 and 2**64 - 1")
    return value


def _signals(value: object) -> list[int]:
    if value is None:
        return [signal.SIGTERM, signal.SIGINT]
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"lameduck: signals is a list such as ['SIGTERM'], not {value!r}")
    return list(dict.fromkeys(map(_signal, cast("Sequence[object]", value))))


def _signal(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"lameduck: signals: {value!r} is no signal; write 'SIGTERM' or signal.SIGTERM")
    try:
        number = signal.Signals[value] if isinstance(value, str) else signal.Signals(value)
    except (KeyError, ValueError):
        raise ValueError(f"lameduck: signals: {value!r} is no signal of this system") from None
    if number in (signal.SIGKILL, signal.SIGSTOP):
        raise ValueError(f"lameduck: signals: no process can catch {number.name}; leave it out")
    return int(number)


def _path(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"lameduck: {name} is a path such as '/readyz', not {value!r}")
    if not value.startswith("/"):
        raise ValueError(f"lameduck: {name} is {value!r}; a path begins with '/'")
    return value


def _file(value: object) -> str | None:
    if value is None or isinstance(value, (str, os.PathLike)):
        return None if value is None else os.fspath(cast("str", value))
    raise TypeError(f"lameduck: report_file is a path such as '/var/log/app/shutdown.json', not {value!r}")


def _checks(value: object) -> dict[str, Check]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"lameduck: checks is a dict of names and functions, not {value!r}")
    given = cast("Mapping[object, object]", value)
    for name, fn in given.items():
        named("readiness check", name)
        if not callable(fn):
            raise TypeError(f"lameduck: checks[{name!r}] is a function, not {fn!r}")
    return cast("dict[str, Check]", dict(given))
