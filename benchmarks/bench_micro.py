"""The hot loops alone, without sockets: decoding, queueing, dispatching, settling, ranking, with each twin."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from rankmux.codes import CommandFlag, Status, Target
from rankmux.core.client.events import ExecuteReceived
from rankmux.core.client.results import RoutedResult
from rankmux.core.client.runs import STATUSES
from rankmux.core.room.deliveries import Deliveries
from rankmux.core.room.ranks import Ranks
from rankmux.wire import Command, Execute, Result, Routed
from tests.support.twins import TWINS

MAX_PAYLOAD = 65_536
MEMBERS = 10_000
COMMANDS = 64


@pytest.fixture(params=TWINS, ids=lambda twin: twin.__name__)
def twin(request: pytest.FixtureRequest) -> Any:
    """One twin of the hot loops."""
    return request.param


def _record(benchmark: BenchmarkFixture, unit: str, units: int, size: int = 0) -> None:
    """Add units and bytes per second to the figures of pytest-benchmark."""
    if benchmark.stats is None:
        return
    median_s = benchmark.stats.stats.median
    benchmark.extra_info |= {"unit": unit, "units": units, "units_per_s": units / median_s}
    if size:
        benchmark.extra_info["mb_per_s"] = size / median_s / 1e6


@pytest.mark.parametrize("payload", [64, 4096])
def bench_cut_executes(benchmark: BenchmarkFixture, twin: Any, payload: int) -> None:
    """A client's commands, off its stream."""
    frames = [Execute(number, 0, 0, 0, bytes(payload)).encode() for number in range(1, 65_536 // payload)]
    data = bytearray().join(frames)
    run, taken, _ = benchmark(twin.cut_executes, data, 0, MAX_PAYLOAD + 64, 1, 0, ExecuteReceived)
    assert (len(run), taken) == (len(frames), len(data))
    _record(benchmark, "command", len(run), len(data))


def bench_cut_results(benchmark: BenchmarkFixture, twin: Any) -> None:
    """The results of a client's command, off its stream."""
    frames = [Routed(1, ticket, ticket, Status.OK, b"done").encode() for ticket in range(1000)]
    data = bytearray().join(frames)
    _, run, _, taken, _ = benchmark(twin.cut_results, data, 0, MAX_PAYLOAD + 64, RoutedResult, STATUSES)
    assert (len(run), taken) == (len(frames), len(data))
    _record(benchmark, "result", len(run), len(data))


def bench_feed(benchmark: BenchmarkFixture, twin: Any) -> None:
    """Queueing a member's commands for the turn."""
    data = Command(1, Target.ALL, 0, CommandFlag.QUIET, 0, bytes(64)).encode() * 512
    batch = twin.Batch(MAX_PAYLOAD)

    def feed() -> None:
        batch.clear()
        batch.feed(1, data)

    benchmark(feed)
    assert len(batch) == 512
    _record(benchmark, "command", 512, len(data))


@pytest.mark.parametrize("target", [Target.ALL, Target.NEXT], ids=["all", "next"])
def bench_dispatch(benchmark: BenchmarkFixture, twin: Any, target: Target) -> None:
    """Dispatching the commands of a turn; 10,000 members."""
    batch, dispatch = _dispatcher(
        twin, MEMBERS, Command(1, target, 0, CommandFlag.QUIET, 0, bytes(64)), COMMANDS
    )
    deliveries = benchmark(dispatch)
    assert len(batch) == COMMANDS
    assert deliveries.executes or deliveries.directed
    _record(benchmark, "command", COMMANDS)


def bench_settle(benchmark: BenchmarkFixture, twin: Any) -> None:
    """The results of 1,000 executors to their sender."""
    executors = 1000
    tickets = array("Q", range(1, executors + 2))
    loads = array("I", bytes(4 * (executors + 1)))
    results = twin.Batch(MAX_PAYLOAD)
    for ticket in tickets[1:]:
        results.feed(ticket, Result(1, Status.OK, b"done").encode())

    def opened() -> tuple[tuple[Any, dict[int, bytearray]], dict[str, Any]]:
        ledger = twin.Ledger()
        ledger.open(1, 1, 7, False, tickets, 1, executors + 1)
        loads[:] = array("I", [1] * (executors + 1))
        return (ledger, {}), {}

    def settle(ledger: Any, routed: dict[int, bytearray]) -> int:
        dropped: int = ledger.settle(results, tickets, loads, routed)
        return dropped

    assert benchmark.pedantic(settle, setup=opened, rounds=50) == 0
    _record(benchmark, "result", executors)


@pytest.mark.parametrize("departures", [1, MEMBERS // 2], ids=["one", "half"])
def bench_rank_sweep(benchmark: BenchmarkFixture, departures: int) -> None:
    """Removing members from the ranks in one sweep; 10,000 members."""
    gone = range(0, MEMBERS, MEMBERS // departures)

    def full() -> tuple[tuple[Ranks], dict[str, Any]]:
        ranks = Ranks()
        for ticket in range(MEMBERS):
            ranks.append(ticket, ticket, "", "")
        return (ranks,), {}

    benchmark.pedantic(lambda ranks: ranks.remove(gone), setup=full, rounds=20)
    _record(benchmark, "departure", departures)


def bench_rank_frames(benchmark: BenchmarkFixture, twin: Any) -> None:
    """RANK for 9,999 members that move up."""
    frames = benchmark(twin.rank_frames, [0], [1], MEMBERS - 1, 1)
    assert len(frames) == 22 * (MEMBERS - 1)
    _record(benchmark, "promotion", MEMBERS - 1, len(frames))


def _dispatcher(
    twin: Any, members: int, command: Command, count: int
) -> tuple[Any, Callable[[], Deliveries]]:
    tickets = array("Q", range(1, members + 1))
    loads = array("I", bytes(4 * members))
    ledger = twin.Ledger()
    batch = twin.Batch(MAX_PAYLOAD)
    batch.feed(1, command.encode() * count)

    def dispatch() -> Deliveries:
        deliveries = Deliveries()
        twin.dispatch(batch, tickets, loads, array("I"), ledger, deliveries, 0, 1024, 1 << 30, 60_000, None)
        return deliveries

    return batch, dispatch
