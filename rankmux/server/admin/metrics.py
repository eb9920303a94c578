"""Prometheus metrics of one server, computed from a ServerStatus on each scrape, in a separate registry.

Needs `prometheus_client` (the extra `rankmux[admin]`). Every metric is defined here.
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
from ...core.cluster.fold import Ruling
from ...core.wire.codes import RefusedCode
from ..cluster.sequencer import ClusterSequencer
from ..connections.closes import CloseReason
from .stats import BOUNDS_S, Histogram
from .status import ServerStatus

__all__ = ["CONTENT_TYPE", "Exposition"]

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Exposition:
    """The metrics of one server, with those of its process."""

    def __init__(self, status: ServerStatus) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_StatusCollector(status))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """The current values in the text format."""
        return generate_latest(self._registry)


class _StatusCollector(Collector):
    def __init__(self, status: ServerStatus) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from self._room()
        yield from self._flow()
        yield from self._loop()
        if self._status.cluster is not None:
            yield from self._shared(self._status.cluster)

    def _room(self) -> Iterator[Metric]:
        status, stats, connections = self._status, self._status.stats, self._status.connections
        build = {"version": status.version, "twin": TWIN, "python": ".".join(map(str, sys.version_info[:3]))}
        yield InfoMetricFamily("rankmux_build", "Versions of the server and of Python", value=build)
        yield _gauge("ready", "1 while new members are admitted", status.ready)
        yield _gauge("draining", "1 while a drain or a shutdown lets the members finish", status.finishing)
        yield _gauge("members", "Members", len(status.room))
        yield _gauge("members_absent", "Members without a connection, whose seats are kept", status.absent)
        yield _gauge("observers", "Connections that look on without a seat", len(connections.observers))
        yield _gauge("watchers", "Members and observers that watch the line", len(connections.watchers))
        yield _gauge("seats", "Maximum number of members", status.config.seats)
        yield _gauge("connections", "Open connections, with or without a seat", len(connections))
        yield _gauge(
            "connections_greeting", "Connections that have not sent HELLO", len(connections.greeting)
        )
        if (expires_at := status.auth.expires_at) is not None:
            yield _gauge(
                "certificate_expiry_timestamp_seconds", "When the certificate expires, since 1970", expires_at
            )
        yield _counter("accepted", "Connections accepted", connections.accepted)
        yield _counter(
            "accept_pauses",
            "Pauses in accepting because the system was out of resources",
            status.listener.pauses,
        )
        yield _counter("joins", "Members that have joined", stats.joins)
        yield _counter(
            "returns", "Members that have returned to their seat, takeovers included", stats.returns
        )
        yield _counter("takeovers", "Connections that lost their seat to another one", status.takeovers)
        yield _counter("yields", "Members that have stepped back to the last place", stats.yields)
        yield _counter("promotions", "Members that have moved up, once for each time", stats.promotions)
        closed = CounterMetricFamily("rankmux_closes", "Connections closed, by reason", labels=("reason",))
        for reason in CloseReason:  # all of them, so that even the first close gives a rate
            closed.add_metric((reason.value,), connections.closes.counts[reason])
        yield closed

    def _flow(self) -> Iterator[Metric]:
        status, stats, connections = self._status, self._status.stats, self._status.connections
        yield _counter("commands", "Commands dispatched", stats.commands)
        yield _counter("deliveries", "Commands delivered, one for each executor", stats.deliveries)
        refused = CounterMetricFamily("rankmux_refusals", "Commands refused, by code", labels=("code",))
        for code in RefusedCode:
            refused.add_metric((code.name.lower(),), stats.refused[code])
        yield refused
        results = CounterMetricFamily(
            "rankmux_results",
            "Results of finished commands, by status",
            labels=("status",),
        )
        for ended, count in stats.results.items():
            results.add_metric((ended,), count)
        yield results
        yield _counter("commands_done", "Commands with all results in", stats.done)
        yield _counter("dropped_results", "Results that no command awaited", stats.dropped_results)
        yield _gauge("commands_waiting", "Commands awaiting results", status.room.waiting)
        yield _gauge("queued_bytes", "Bytes queued for members, in total", connections.outbox.size)
        yield _gauge("queued_bytes_max", "Bytes in the longest queue of a member", status.queued_max())
        yield _gauge(
            "outbox_held_bytes",
            "Memory of all outboxes, shared data counted once",
            connections.outbox.held_bytes,
        )
        yield _counter(
            "undelivered_bytes",
            "Bytes still queued for connections when they ended",
            connections.undelivered_bytes,
        )

    def _loop(self) -> Iterator[Metric]:
        stats, connections = self._status.stats, self._status.connections
        yield _gauge(
            "paced",
            "Members paced: not read from while their receivers are slow",
            len(connections.pacing),
        )
        yield _counter("paced_seconds", "Time paced, summed over members", stats.paced_s)
        yield _histogram("turn_seconds", "Duration of the loop's turns", stats.turns)
        yield _histogram("loop_lag_seconds", "Delay of the loop behind its deadlines", stats.lag)

    def _shared(self, cluster: ClusterSequencer) -> Iterator[Metric]:
        measures, now = cluster.measures, self._status.clock()
        yield _gauge("cluster_servers", "Servers that are up in the room, by name", len(cluster.names))
        yield _gauge("cluster_log_seq", "Last entry of the log that this server has read", cluster.seq)
        yield _gauge("cluster_behind", "Entries known to be in the log and not read yet", measures.behind)
        yield _gauge("cluster_under_way", "Own entries written and not read back yet", measures.under_way)
        yield _gauge(
            "cluster_waiting_seconds",
            "Age of the oldest own entry that has not been read back",
            measures.waits_s(now),
        )
        yield _gauge(
            "cluster_read_back_seconds",
            "Longest time from writing an entry to reading it back since the last scrape",
            measures.take_longest(),
        )
        entries = CounterMetricFamily(
            "rankmux_cluster_entries", "Entries read, by what became of them", labels=("ruling",)
        )
        for ruling in Ruling:
            entries.add_metric((ruling.value,), measures.entries[ruling])
        yield entries
        yield _counter("cluster_resent", "Own entries that were sent again", measures.resent)
        yield _counter(
            "cluster_window_full", "Turns in which nothing more could be written", measures.window_full
        )
        yield _counter(
            "cluster_fences", "Times that all members were dropped for want of the log", measures.fences
        )
        yield _counter(
            "cluster_courier_restarts", "Restarts of the process that talks to NATS", measures.log_restarts
        )
        yield _gauge(
            "cluster_snapshot_seq",
            "Entry of the newest snapshot that this server has stored, or began with",
            measures.snapshot_seq,
        )


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
