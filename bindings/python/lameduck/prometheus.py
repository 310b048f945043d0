"""The metrics in a registry of ``prometheus_client``, beside those of the program: ``lameduck.prometheus.register(app.lameduck)``."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ._duck import Lameduck


def register(duck: Lameduck, registry: CollectorRegistry = REGISTRY) -> None:
    """Adds what ``duck.metrics()`` has as text. It is read when somebody scrapes, also after shutdown. A registry takes one: it
    raises ``ValueError`` when it has metrics of these names."""
    if not isinstance(duck, Lameduck):
        raise TypeError(f"lameduck: register() takes a Lameduck such as app.lameduck, not {duck!r}")
    registry.register(_Families(duck))


class _Families(Collector):
    def __init__(self, duck: Lameduck) -> None:
        self._duck = duck

    def describe(self) -> Iterator[Metric]:
        """By this a registry learns the names, to refuse what it has."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        for name, kind, help, label, samples in self._duck._families():
            make = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            metric = make(f"lameduck_{name}", help, labels=None if label is None else [label])
            for of, value in samples:
                metric.add_metric([] if label is None else [of], value)
            yield metric
