"""Rounds of a load for pytest-benchmark: a subject with its members, and the CPU time of its server for each unit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import subjects
from benchmarks.session import Session

__all__ = ["measured", "opened"]

ROUNDS = 20


def opened(name: str, members: int, *commands: str) -> Iterator[Session]:
    """The subject of that name, when the load has done `commands`; skips the test where it is not installed."""
    subject = subjects.BY_NAME[name]
    if reason := subject.missing():
        pytest.skip(reason)
    with Session(subject, members) as session:
        for command in commands:
            session.ask(command)
        yield session


def measured(benchmark: BenchmarkFixture, session: Session, load: str) -> None:
    """Rounds of `load`, a command of `native/load.c`; without a time it runs one round."""
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
