"""Macro benchmarks: a server process on one core and the load generator on another.

pytest-benchmark times rounds: from the sending of a burst to the arrival of its last message. The server's CPU time per
delivery, the measure of the project's targets, is in `extra_info`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import subjects
from benchmarks.session import Session

SUBJECTS = ("bare", "rankmux", "rankmux-pure")
ROUNDS = 20


@pytest.fixture(
    scope="module",
    params=[(name, members) for members in (100, 1000, 5000) for name in SUBJECTS],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A server with all its members, warmed up."""
    name, members = request.param
    subject = subjects.BY_NAME[name]
    if reason := subject.missing():
        pytest.skip(reason)
    with Session(subject, members) as opened:
        opened.ask(f"open {members}")
        opened.ask("fanout 1 0.2")
        yield opened


@pytest.mark.parametrize("load", ["fanout 1", "fanout 64", "directed 64", "results 1"])
def bench_round(benchmark: BenchmarkFixture, session: Session, load: str) -> None:
    """`load` is a command of `native/load.c`; without a time it runs one round."""
    benchmark.group = f"{load}, {session.seats} members"
    units = 0

    def one_round() -> None:
        nonlocal units
        units += session.ask(f"{load} 0")["units"]

    session.ask(f"{load} 0")
    cpu_s = session.server.cpu_s()
    benchmark.pedantic(one_round, rounds=ROUNDS)  # type: ignore[no-untyped-call]
    cpu_s = session.server.cpu_s() - cpu_s
    benchmark.extra_info.update(
        subject=session.subject.name,
        version=session.subject.version(),
        members=session.seats,
        server_cpu_us_per_unit=1e6 * cpu_s / units,
    )
