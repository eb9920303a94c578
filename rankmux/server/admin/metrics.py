"""What a monitor reads: the numbers of a View as Prometheus metrics. Read when asked for, in a registry of its own.

Needs `prometheus_client` (the extra `rankmux[admin]`). A metric is described here and nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from ..._twin import TWIN
from ...core.wire.codes import RefusedCode
from ..connections.connection import CloseReason
from .stats import BOUNDS_S, Histogram
from .status import View

__all__ = ["CONTENT_TYPE", "Exposition"]

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Exposition:
    """The metrics of one server, with those of its process."""

    def __init__(self, view: View) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_ViewCollector(view))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """All of them as of now, in the text format."""
        return generate_latest(self._registry)


class _ViewCollector(Collector):
    def __init__(self, view: View) -> None:
        self._view = view

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from self._room()
        yield from self._flow()
        yield from self._loop()

    def _room(self) -> Iterator[Metric]:
        view, stats, connections = self._view, self._view.stats, self._view.connections
        build = {"version": view.version, "twin": TWIN, "python": ".".join(map(str, sys.version_info[:3]))}
        yield InfoMetricFamily("rankmux_build", "What runs", value=build)
        yield _gauge("ready", "1 while new members are taken, 0 while shutting down", view.ready)
        yield _gauge("members", "Members, each of which holds a seat", len(view.room))
        yield _gauge("seats", "Members at most", view.config.seats)
        yield _gauge("connections", "Open connections, with a seat or without", len(connections))
        yield _gauge(
            "connections_greeting", "Connections that have not said HELLO", len(connections.greeting)
        )
        yield _counter("accepted", "Connections accepted", connections.accepted)
        yield _counter(
            "accept_pauses", "Times that the system had no connection to give", view.listener.pauses
        )
        yield _counter("joins", "Members that have taken a seat", stats.joins)
        closed = CounterMetricFamily(
            "rankmux_closes", "Connections that ended, by reason", labels=("reason",)
        )
        for reason in CloseReason:  # all of them, so that a rate can be taken of the first one
            closed.add_metric((reason.value,), connections.closes.counts[reason])
        yield closed

    def _flow(self) -> Iterator[Metric]:
        view, stats, connections = self._view, self._view.stats, self._view.connections
        yield _counter("commands", "Commands dispatched", stats.commands)
        yield _counter("deliveries", "Commands delivered, counted for each executor", stats.deliveries)
        refused = CounterMetricFamily("rankmux_refusals", "Commands refused, by code", labels=("code",))
        for code in RefusedCode:
            refused.add_metric((code.name.lower(),), stats.refused[code])
        yield refused
        results = CounterMetricFamily(
            "rankmux_results",
            "Executors of finished commands that wanted results, by status",
            labels=("status",),
        )
        for status, count in stats.results.items():
            results.add_metric((status,), count)
        yield results
        yield _counter("commands_done", "Commands whose results are all in", stats.done)
        yield _counter("dropped_results", "Results for which nothing waited", stats.dropped_results)
        yield _gauge("commands_waiting", "Commands that wait for results", view.room.waiting)
        yield _gauge("queued_bytes", "Bytes owed to members, in all", connections.outbox.size)
        yield _gauge("queued_bytes_max", "Bytes owed to the member that is owed the most", view.queued_max())
        yield _gauge(
            "outbox_held_bytes",
            "Memory of all outboxes: what is shared counts once",
            connections.outbox.held_bytes,
        )
        yield _counter(
            "undelivered_bytes",
            "Bytes that were owed to connections that ended",
            connections.undelivered_bytes,
        )

    def _loop(self) -> Iterator[Metric]:
        stats, connections = self._view.stats, self._view.connections
        yield _gauge(
            "paced",
            "Members not read from, because others do not take what they send",
            len(connections.pacing),
        )
        yield _counter(
            "paced_seconds", "Time for which members were not read from, summed over members", stats.paced_s
        )
        yield _histogram("turn_seconds", "How long the turns of the loop take", stats.turns)
        yield _histogram("loop_lag_seconds", "How late the loop comes to its deadlines", stats.lag)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"rankmux_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"rankmux_{name}", text, value=value)


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets, total = [], 0
    for bound, count in zip((*BOUNDS_S, float("inf")), histogram.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), float(total)))
    return HistogramMetricFamily(f"rankmux_{name}", text, buckets=buckets, sum_value=histogram.sum)
