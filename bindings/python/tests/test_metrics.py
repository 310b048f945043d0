"""Metrics, as text and in a registry of prometheus_client."""

import lameduck
import lameduck.prometheus
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families


def samples(text):
    return {(sample.name, *sample.labels.items()): sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def test_the_registry_has_what_the_text_has(lameduck_drain):
    app = lameduck.wsgi(lambda environ, start_response: [b""], grace=2)
    registry = CollectorRegistry()
    lameduck.prometheus.register(app.lameduck, registry)
    assert samples(generate_latest(registry).decode()) == samples(app.lameduck.metrics())
    assert samples(app.lameduck.metrics())["lameduck_phase", ("phase", "serving")] == 1
    lameduck_drain(app)
    after = samples(generate_latest(registry).decode())
    assert after["lameduck_phase", ("phase", "done")] == 1 and after["lameduck_phase", ("phase", "serving")] == 0
    assert after["lameduck_shutdown_seconds",] > 0
    assert after["lameduck_shutdown_requests_total", ("verdict", "completed")] == 0


def test_a_registry_takes_one():
    registry = CollectorRegistry()
    lameduck.prometheus.register(lameduck.Lameduck(), registry)
    with pytest.raises(ValueError, match="Duplicated"):
        lameduck.prometheus.register(lameduck.Lameduck(), registry)
    with pytest.raises(TypeError, match="takes a Lameduck such as app.lameduck, not 3"):
        lameduck.prometheus.register(3, registry)
