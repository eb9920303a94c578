"""Benchmark of a room of watchers, in short: rounds of EXECUTE and of CHANGED. `changed.py` compares the two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import subjects
from benchmarks.session import Session

ROUNDS = 20


@pytest.fixture(
    scope="module",
    params=[(name, members) for members in (100, 1000) for name in ("rankmux", "rankmux-pure")],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def watched(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A server all of whose members watch."""
    name, members = request.param
    subject = subjects.BY_NAME[name]
    if reason := subject.missing():
        pytest.skip(reason)
    with Session(subject, members) as opened:
        opened.ask("watch")
        opened.ask(f"open {members}")
        yield opened


@pytest.mark.parametrize("load", ["fanout 2", "changes 2", "fanout 64", "changes 64"])
def bench_watchers(benchmark: BenchmarkFixture, watched: Session, load: str) -> None:
    """`load` is a command of `native/load.c`; every member gets each frame."""
    benchmark.group = f"{load}, {watched.seats} watchers"
    units = 0

    def one_round() -> None:
        nonlocal units
        units += watched.ask(f"{load} 0")["units"]

    watched.ask(f"{load} 0")
    cpu_s = watched.server.cpu_s()
    benchmark.pedantic(one_round, rounds=ROUNDS)  # type: ignore[no-untyped-call]
    cpu_s = watched.server.cpu_s() - cpu_s
    benchmark.extra_info.update(
        subject=watched.subject.name,
        version=watched.subject.version(),
        watchers=watched.seats,
        server_cpu_us_per_unit=1e6 * cpu_s / units,
    )
