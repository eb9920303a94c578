"""Benchmark of the Python clients, in short: one run of each load. `compare.py clients` compares them."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.clients.compare import LOADS, missing, sample

_LIBRARIES = ("rankmux", "rankmux-aio", "redis", "nats")


@pytest.mark.parametrize(
    ("load", "library"),
    [
        (load, library)
        for load in ("receive", "request", "send")
        for library in _LIBRARIES
        if library in LOADS[load].libraries
    ],
)
def bench_client(benchmark: BenchmarkFixture, library: str, load: str) -> None:
    """The time is that of a whole run, with its server; `extra_info` has the client's CPU time for one message."""
    plan = LOADS[load]
    if reason := missing(library):
        pytest.skip(reason)
    benchmark.group = plan.what
    figures = benchmark.pedantic(sample, (library, load, plan.quick), rounds=1)
    benchmark.extra_info.update(figures)
