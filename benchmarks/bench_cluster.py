"""Benchmark of a room of three servers, in short: bursts from rank 0 to all, through the log. See also `cluster.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import clusters
from benchmarks.session import Load

MEMBERS = 12
ROUNDS = 20


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[clusters.Cluster, Load]]:
    """Three servers with a load at all of them."""
    if reason := clusters.missing():
        pytest.skip(reason)
    with clusters.Cluster(3, MEMBERS) as cluster:
        load = cluster.load()
        clusters.fill(load, cluster.servers, MEMBERS)
        yield cluster, load


@pytest.mark.parametrize("burst", [1, 64])
def bench_cluster(benchmark: BenchmarkFixture, shared: tuple[clusters.Cluster, Load], burst: int) -> None:
    """A round ends when the last member of all servers has the last command."""
    benchmark.group = f"bursts of {burst}, three servers"
    cluster, load = shared
    load.ask(f"fanout {burst} 0")
    before = [server.clocks() for server in cluster.servers]
    benchmark.pedantic(lambda: load.ask(f"fanout {burst} 0"), rounds=ROUNDS)  # type: ignore[no-untyped-call]
    used = [server.clocks() - start for server, start in zip(cluster.servers, before, strict=True)]
    benchmark.extra_info.update(
        servers=len(used),
        server_cpu_us_per_round=1e6 * sum(each.server for each in used) / len(used) / ROUNDS,
        courier_cpu_us_per_round=1e6 * sum(each.courier for each in used) / len(used) / ROUNDS,
    )
