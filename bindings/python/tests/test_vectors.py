"""The machine's decisions, replayed through the extension's own methods and conversions: handles, names, 64-bit times and refusals are
the same here as in the core (tests/vectors/README.md describes the files)."""

import json
import math
from pathlib import Path

import pytest
from lameduck._lameduck import Machine, Policy

FILES = sorted((Path(__file__).resolve().parents[3] / "tests/vectors").glob("*.json"))


def settings(policy):
    result = {}
    for name, value in policy.items():
        if name == "grace_ms":
            result["grace"] = math.inf if value == "unlimited" else value / 1_000
        elif name.endswith("_ms"):
            result[name.removesuffix("_ms")] = value / 1_000
        else:
            result[name] = int(value) if name == "seed" else value
    return result


def fields(event, origin):
    result = {}
    for name, value in event.items():
        if name == "since_us":
            result["since"] = origin + value * 1_000
        elif name.endswith("_us"):
            result[name.removesuffix("_us")] = None if value is None else value / 1_000_000
        elif name != "type":
            result[name] = value
    return result


def effects(machine):
    while (effect := machine.poll_effect()) is not None:
        yield effect


def test_there_are_vectors_to_replay():
    assert len(FILES) >= 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_vector(path):
    vector = json.loads(path.read_text())
    if "contradiction" in vector:
        with pytest.raises(ValueError) as refused:
            Policy(vector.get("environment", {}), **settings(vector.get("policy", {})))
        assert str(refused.value) == vector["contradiction"]
        return
    machine = Machine(Policy(vector.get("environment", {}), **settings(vector.get("policy", {}))))
    now = origin = int(vector["origin_ns"])
    for index, step in enumerate(vector["steps"]):
        at = f"step {index}"
        now = origin + step["at_us"] * 1_000
        if step.get("tick"):
            machine.tick(now)
        else:
            event = step["event"]
            assert machine.handle(event["type"], now=now, **fields(event, origin)) == step.get("refused"), at
        assert list(effects(machine)) == step["effects"], at
        wake = step["wake"] and (origin + step["wake"]["at_us"] * 1_000, step["wake"]["why"])
        assert machine.next_wake() == wake, at
        assert machine.phase == step["phase"], at
    assert json.loads(machine.report(now)) == vector["report"]
