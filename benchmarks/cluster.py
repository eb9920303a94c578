"""Several servers of one room over three NATS servers that write each entry to the disk, beside a server alone.

    python -m benchmarks.cluster                     everything, a quarter of an hour
    python -m benchmarks.cluster --quick             the same with fewer and shorter runs, a minute
    python -m benchmarks.cluster --only latency,cost

`latency`   from a command to its last execution: 100 a second, from members of all servers in turn
`cost`      CPU time of a server for each delivery to its own members, beside servers alone that get as many commands a
            second, and of its courier
`entries`   entries and commands a second, of 100 bytes each, from all servers
`rising`    the time from the start of a server until members can join, in a room of 10,000
`memory`    of a server for each of its own members, and for each that is connected elsewhere
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise

from benchmarks import machine, subjects
from benchmarks.clusters import Clocks, Cluster, Server, alone, fill, missing
from benchmarks.measure import Spread
from benchmarks.session import Load, SessionError
from rankmux.core.cluster import snapshot
from rankmux.core.cluster.turns import TurnBody
from tests.support.scribe import RULES, Scribe, a_fold, join, read

Run = list[tuple[Load, Sequence[Server]]]
"""Rooms that are at work at the same time: the load and the servers of each."""
COMMAND_BYTES = 100
RATE = 100
ROOM = 10_000
SNAPSHOT_BYTES = 17 << 20  # more than a server reads before it writes a snapshot
KEEP_MS = 60_000


@dataclass(frozen=True)
class Plan:
    """How often, how many seconds each time, and with how many members and servers."""

    rounds: int
    seconds: float
    rooms: tuple[tuple[int, int], ...]
    room: int


FULL = Plan(5, 0.6, ((2, 1000), (3, 1000), (2, ROOM), (3, ROOM)), ROOM)
QUICK = Plan(3, 0.3, ((3, 1000),), 1000)
PACES = {1000: ((100, 1), (300, 1), (50, 16)), ROOM: ((10, 1), (25, 1), (5, 16))}
"""By the members of a room: bursts a second, and commands of each. The second is near the most that one core can do."""


@dataclass(frozen=True)
class Row:
    """One line of the table: some values of a figure, and what it should be at most (at least: negative)."""

    what: str
    values: Sequence[float]
    goal: float | None = None

    def shown(self) -> tuple[str, str, str]:
        """The texts of the line."""
        spread = Spread.of(self.values)
        goal = "" if self.goal is None else f"{'<=' if self.goal > 0 else '>='} {abs(self.goal):g}"
        return self.what, f"{spread.median:.3g} ({spread.least:.3g} - {spread.greatest:.3g})", goal


def latency(plan: Plan) -> Iterator[Row]:
    """Runs with three servers and with one alternate."""
    seconds = 4 * plan.seconds
    found: dict[str, list[float]] = {}
    nats: list[float] = []
    with (
        Cluster(3, 16, pinned=False) as cluster,
        alone(16, COMMAND_BYTES, pinned=False) as (one, one_load),
    ):
        load = cluster.load(payload_size=COMMAND_BYTES)
        for each, servers in ((load, cluster.servers), (one_load, [one])):
            fill(each, servers, 12)
            each.ask(f"paced {RATE} 1 1")
        for _ in range(plan.rounds):
            for name, each in (("alone", one_load), ("3 servers", load)):
                answer = each.ask(f"paced {RATE} {seconds} 1")
                for quantile in ("p50", "p99"):
                    found.setdefault(f"{name}, {quantile}", []).append(answer[f"{quantile}_us"] / 1e3)
            nats.append(_append_ms(cluster))
    goals = {"p50": 4.0, "p99": 15.0}
    for quantile, goal in goals.items():
        several, single = found[f"3 servers, {quantile}"], found[f"alone, {quantile}"]
        yield Row(f"3 servers, {quantile}, ms", several, goal)
        yield Row(f"alone, {quantile}, ms", single)
        yield Row(f"added, {quantile}, ms", [a - b for a, b in zip(several, single, strict=True)])
    yield Row("NATS alone, an append to three copies, p50, ms", nats)


def _append_ms(cluster: Cluster) -> float:
    """The median time of NATS alone to store an entry, seen from the leader of a stream without readers."""
    config = {"name": "bench", "subjects": ["bench"], "num_replicas": 3, "storage": "file"}
    with cluster.nodes[0].api() as api:
        api.request("$JS.API.STREAM.CREATE.bench", config)
    times = []
    with cluster.nodes.leader_of("bench").api() as api:
        for _ in range(100):
            started = time.monotonic()
            api.request("bench", bytes(2 * COMMAND_BYTES))
            times.append(1e3 * (time.monotonic() - started))
            time.sleep(1 / RATE)
    return statistics.median(times)


def cost(plan: Plan) -> Iterator[Row]:
    """As many commands a second in a room over several servers, and at one alone with as many members as each of them.

    The servers of a room share a core, and with it its caches: so do as many that are alone, at work at the same time.
    A server that has less to do needs more for each delivery: to send as fast as each can take it compares nothing.
    """
    for servers, members in plan.rooms:
        yield from _cost(plan, servers, members)


def _cost(plan: Plan, servers: int, members: int) -> Iterator[Row]:
    own = members // servers
    whole = servers == 3 and members == plan.rooms[-1][1]
    where = f"{members:,} members, {servers} servers"
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(servers, members))
        several: Run = [(cluster.load(), cluster.servers)]
        fill(*several[0], own * servers)
        shares = _alone(stack, servers, own)
        runs = {"several": several, "shares": shares, "one": shares[:1]}
        if whole:
            runs["all"] = _alone(stack, 1, members)
        for rate, burst in PACES[members]:
            for run in runs.values():
                _per_command(run, rate, burst, plan.seconds)
            ratios, to_one, couriers, per_own, per_all = [], [], [], [], []
            for number in range(plan.rounds):
                names = list(runs) if number % 2 else reversed(runs)
                costs = {name: _per_command(runs[name], rate, burst, 6 * plan.seconds) for name in names}
                mean = costs["several"].server
                ratios.append(mean / costs["shares"].server)
                to_one.append(mean / costs["one"].server)
                per_own.append(1e6 * mean / own)
                couriers.append(costs["several"].courier / mean)
                if whole:
                    per_all.append(mean / costs["all"].server)
            title = f"{where}, {rate} a second" + (f" of {burst}" if burst > 1 else "")
            yield Row(f"{title}: µs per own delivery", per_own)
            yield Row(f"{title}: to {servers} alone with its members, on its core", ratios, 1.10)
            yield Row(f"{title}: to one alone with its members, on its core", to_one)
            yield Row(f"{title}: its courier, to the server", couriers)
            if whole:
                yield Row(f"{title}: to a server alone with all members", per_all, 0.4)


def _alone(stack: ExitStack, servers: int, members: int) -> Run:
    """Servers alone, with so many members each."""
    run: Run = []
    for _ in range(servers):
        server, load = stack.enter_context(alone(members))
        fill(load, [server], members)
        run.append((load, [server]))
    return run


def _per_command(run: Run, rate: int, burst: int, seconds: float) -> Clocks:
    """The CPU seconds for each command, at all rooms of `run` at the same time; the mean of their servers."""

    def measure(load: Load, servers: Sequence[Server]) -> list[Clocks]:
        before = [server.clocks() for server in servers]
        commands = load.ask(f"paced {rate} {seconds} {burst}")["units"]
        used = [server.clocks() - start for server, start in zip(servers, before, strict=True)]
        return [Clocks(each.server / commands, each.courier / commands) for each in used]

    with ThreadPoolExecutor(len(run)) as threads:
        clocks = [one for room in threads.map(lambda room: measure(*room), run) for one in room]
    return Clocks(
        statistics.mean(each.server for each in clocks), statistics.mean(each.courier for each in clocks)
    )


def entries(plan: Plan) -> Iterator[Row]:
    """Three servers, each with a member that has a fixed number of commands under way to a member of another."""
    with Cluster(3, 16, pinned=False) as cluster:
        load = cluster.load(payload_size=COMMAND_BYTES)
        fill(load, cluster.servers, 12)
        for title, window, burst, goal in (("one by one", 64, 1, -3000.0), ("bursts of 32", 256, 32, None)):
            load.ask(f"stream {window} {burst} 0.3")
            rates, commands, cpu, courier = [], [], [], []
            for _ in range(plan.rounds):
                read_before = [server.metric("cluster_entries_total") for server in cluster.servers]
                before = [server.clocks() for server in cluster.servers]
                answer = load.ask(f"stream {window} {burst} {3 * plan.seconds}")
                used = [
                    server.clocks() - start for server, start in zip(cluster.servers, before, strict=True)
                ]
                count = cluster.servers[0].metric("cluster_entries_total") - read_before[0]
                rates.append(count / answer["seconds"])
                commands.append(answer["units"] / answer["seconds"])
                cpu.append(1e6 * sum(each.server for each in used) / 3 / count)
                courier.append(1e6 * sum(each.courier for each in used) / 3 / count)
            yield Row(f"commands {title}: commands/s", commands, goal)
            yield Row(f"commands {title}: entries/s", rates)
            yield Row(f"commands {title}: a server's µs per entry", cpu)
            yield Row(f"commands {title}: its courier's µs per entry", courier)


def rising(plan: Plan) -> Iterator[Row]:
    """A third server, in a room whose members are connected to the two others."""
    with Cluster(2, plan.room + 1) as cluster:
        load = cluster.load(payload_size=1000)
        fill(load, cluster.servers, plan.room)
        for title in ("without a snapshot", "with a snapshot"):
            took = []
            for number in range(min(plan.rounds, 3)):
                with cluster.start(f"s{title}{number}".replace(" ", "")) as server:
                    took.append(server.await_ready())
            yield Row(f"{plan.room:,} members elsewhere, {title}: ready after s", took, 3.0)
            if title == "without a snapshot":
                _fill(cluster, load)
    yield from _snapshots(plan)


def _fill(cluster: Cluster, load: Load) -> None:
    """Write until there is a snapshot."""
    for _ in range(100):
        if max(server.metric("cluster_snapshot_seq") for server in cluster.servers):
            return
        load.ask("stream 1024 64 0.5")
    raise SessionError("no server wrote a snapshot")


def _snapshots(plan: Plan) -> Iterator[Row]:
    rules = RULES._replace(seats=plan.room)
    fold = a_fold(rules)
    scribe = Scribe(fold, 1)
    bodies = [
        TurnBody(
            joins=[
                (serial, join(f"member {serial}", serial.to_bytes(32), KEEP_MS))
                for serial in range(first, last)
            ]
        )
        for first, last in pairwise(range(1, plan.room + 2, plan.room // 10))
    ]
    read(fold, fold.seq + 1, scribe.genesis(rules))
    read(fold, fold.seq + 1, scribe.up())
    for body in bodies:
        read(fold, fold.seq + 1, scribe.turn(body))
    assert len(fold.room) == plan.room
    dumps, loads = [], []
    for _ in range(2 * plan.rounds):
        started = time.process_time()
        data = snapshot.dump(fold)
        dumped = time.process_time()
        snapshot.load(a_fold(rules), data)
        dumps.append(1e3 * (dumped - started))
        loads.append(1e3 * (time.process_time() - dumped))
    yield Row(f"snapshot of {plan.room:,} with keeps: ms of CPU to dump", dumps)
    yield Row(f"snapshot of {plan.room:,} with keeps: ms of CPU to load", loads)


def memory(plan: Plan) -> Iterator[Row]:
    """All members are connected to the first of two servers."""
    with Cluster(2, plan.room) as cluster, alone(plan.room) as (one, one_load):
        load = cluster.load(cluster.servers[:1])
        servers = [*cluster.servers, one]
        for each in (load, one_load):
            each.ask("open 2")
            each.ask("fanout 16 0.1")
        before = [server.rss_bytes() for server in servers]
        for each in (load, one_load):
            each.ask(f"open {plan.room}")
            each.ask("fanout 16 0")
        grown = [
            (server.rss_bytes() - rss) / (plan.room - 2) for server, rss in zip(servers, before, strict=True)
        ]
    for title, value in zip(("own member", "member elsewhere", "member, alone"), grown, strict=True):
        yield Row(f"RSS, bytes for each {title}", [value])


PARTS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "latency": latency,
    "cost": cost,
    "entries": entries,
    "rising": rising,
    "memory": memory,
}


def _parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(PARTS)}")
    return names


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs, at most 1,000 members")
    parser.add_argument("--only", type=_parts, default=list(PARTS), metavar="NAME,...", help=", ".join(PARTS))
    asked = parser.parse_args(argv)
    if reason := missing():
        print(reason, file=sys.stderr)
        return 1
    print("; ".join(f"{name} {value}" for name, value in machine.facts().items()))
    print(subjects.BY_NAME["rankmux"].version(), "\n\nmedian (least - greatest)", sep="")
    for name in asked.only:
        started = time.monotonic()
        load_before = os.getloadavg()[0]
        lines = []
        try:
            for row in PARTS[name](QUICK if asked.quick else FULL):
                lines.append(row.shown())
                print(f"{lines[-1][0]:<68}{lines[-1][1]:>28}{lines[-1][2]:>10}", flush=True)
        except SessionError as error:
            print(error, file=sys.stderr)
            return 1
        took = time.monotonic() - started
        print(
            f"  {name}: {took:.0f} s, load average {load_before:.1f} - {os.getloadavg()[0]:.1f}\n", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
