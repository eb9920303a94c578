"""Benchmark of a room of watchers, in short: rounds of EXECUTE and of CHANGED. `changed.py` compares the two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.rounds import measured, opened
from benchmarks.session import Session


@pytest.fixture(
    scope="module",
    params=[(name, members) for members in (100, 1000) for name in ("rankmux", "rankmux-pure")],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def watched(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A server all of whose members watch."""
    name, members = request.param
    yield from opened(name, members, "watch", f"open {members}")


@pytest.mark.parametrize("load", ["fanout 2", "changes 2", "fanout 64", "changes 64"])
def bench_watchers(benchmark: BenchmarkFixture, watched: Session, load: str) -> None:
    """Every member gets each frame."""
    benchmark.group = f"{load}, {watched.seats} watchers"
    measured(benchmark, watched, load)
