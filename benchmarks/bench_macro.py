"""Macro benchmarks: a server process on one core and the load generator on another.

pytest-benchmark times rounds: from the sending of a burst to the arrival of its last message. The server's CPU time per
delivery, the measure of the project's targets, is in `extra_info`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.rounds import measured, opened
from benchmarks.session import Session

SUBJECTS = ("bare", "rankmux", "rankmux-pure")


@pytest.fixture(
    scope="module",
    params=[(name, members) for members in (100, 1000, 5000) for name in SUBJECTS],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A server with all its members, warmed up."""
    name, members = request.param
    yield from opened(name, members, f"open {members}", "fanout 1 0.2")


@pytest.mark.parametrize("load", ["fanout 1", "fanout 64", "directed 64", "results 1"])
def bench_round(benchmark: BenchmarkFixture, session: Session, load: str) -> None:
    """One round of `load` at a time."""
    benchmark.group = f"{load}, {session.seats} members"
    measured(benchmark, session, load)
