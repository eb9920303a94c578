"""How long members notice a failure in a cluster: a server killed, and the node that leads the log's stream lost.

    python -m tests.faults.cluster_times --rounds 50

Members are asyncio clients with a keep, at all three servers; the first of them sends a command to all others every
20 ms. Nothing that was accepted may be missing at a member that stayed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rankmux.aio import Client
from rankmux.errors import RankmuxError

from ..support.nats_nodes import Node
from .cluster_rig import ClusterRig, cluster

MEMBERS = 24
LOAD_S = 0.02
BACK_S = 30.0
JUDGED = -1
NEAR_S = 0.5  # of a loss or a return: it may have been dispatched before, and accepted after


class Crowd:
    """The members, in rank order, and what each has of the first one's numbered commands."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self.clients: list[Client] = []
        self.got: list[list[int]] = []
        self.lost_at = 0.0
        self.back_at: dict[int, float] = {}
        self.accepted: list[tuple[int, float]] = []  # number and moment
        self.leads: list[tuple[float, int]] = []  # when somebody believed to lead
        self._sent = 0
        self._sender: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def join(self) -> None:
        for n in range(MEMBERS):
            got: list[int] = []

            def take(command: Any, got: list[int] = got) -> None:
                got.append(int(command.payload))

            def back(_rank: int, n: int = n) -> None:
                self.back_at[n] = time.monotonic()

            at = n % len(self.addresses)
            client = Client(
                [*self.addresses[at:], *self.addresses[:at]],
                name=f"m{n}",
                handler=take,
                keep_s=60.0,
                on_absent=lambda _: None,
                on_back=back,
            )
            await client.connect()
            self.clients.append(client)
            self.got.append(got)
        self._sender = asyncio.create_task(self._send())
        self._watcher = asyncio.create_task(self._watch())

    async def _send(self) -> None:
        """Under load: one number after the other, by the first member."""
        while True:
            number, self._sent = self._sent, self._sent + 1
            try:
                await self.clients[0].command(str(number).encode())
                self.accepted.append((number, time.monotonic()))
            except RankmuxError:  # under way when the connection was lost: nothing is promised of it
                await asyncio.sleep(0.01)
            await asyncio.sleep(LOAD_S)

    async def _watch(self) -> None:
        """Who believes in rank 0, a hundred times a second."""
        while True:
            now = time.monotonic()
            leading = sum(_rank(client) == 0 for client in self.clients)
            if leading > 1:
                self.leads.append((now, leading))
            await asyncio.sleep(0.01)

    async def settle(self) -> float:
        """All have ranks again, in the order in which they joined, and what was accepted.

        Returns the longest time in which nothing was accepted, since it was called last.
        """
        until = time.monotonic() + BACK_S
        while [_rank(client) for client in self.clients] != list(range(MEMBERS)):
            assert time.monotonic() < until, [_rank(client) for client in self.clients]
            await asyncio.sleep(0.01)
        until = time.monotonic() + BACK_S
        while missing := [found for n in range(1, MEMBERS) if (found := self._missing(n))]:
            assert time.monotonic() < until, f"accepted, and not received: {missing}"
            await asyncio.sleep(0.05)
        for got in self.got[1:]:
            assert got == sorted(set(got)), "doubled, or out of order"
        gap = max(later - sooner for (_, sooner), (_, later) in pairwise(self.accepted))
        self.accepted = [(JUDGED, self.accepted[-1][1])]
        for got in self.got:
            del got[: max(0, len(got) - 50)]
        return gap

    def _missing(self, n: int) -> list[int]:
        """What it has not received, though it was there."""
        got = set(self.got[n])
        back_at = self.back_at.get(n, float("-inf"))
        return [
            number
            for number, at in self.accepted
            if number != JUDGED and number not in got and not self.lost_at - NEAR_S < at < back_at + NEAR_S
        ][:5]

    async def close(self) -> None:
        for task in (self._sender, self._watcher):
            assert task is not None
            task.cancel()
        for client in self.clients:
            await client.close()


def _rank(client: Client) -> int | None:
    try:
        return client.rank
    except RankmuxError:
        return None


class Times:
    """The rounds, and what each measured."""

    def __init__(self, rig: ClusterRig, rounds: int) -> None:
        self.rig, self.rounds = rig, rounds
        self.table: dict[str, list[float]] = {}

    def note(self, what: str, *seconds: float) -> None:
        self.table.setdefault(what, []).extend(seconds)

    async def run(self) -> None:
        await self.kills()
        for what, work in (
            ("the leader of the stream killed", self._kill_leader),
            ("the leader of the stream stopped", self._stop_leader),
            ("the leader of the stream steps down", self._step_down),
        ):
            await self.elections(what, work)
        for _ in range(min(5, self.rounds)):
            await self.without_keeps()

    async def kills(self) -> None:
        """SIGKILL to each server in turn."""
        crowd = await self._crowd()
        for n in range(self.rounds):
            victim = self.rig.servers[n % len(self.rig.servers)]
            there = [at for at, client in enumerate(crowd.clients) if _port(client) == victim.port]
            crowd.back_at.clear()
            killed = crowd.lost_at = time.monotonic()
            await _blocking(victim.kill)
            gap = await crowd.settle()
            self.note(
                "a server killed: its member is back elsewhere", *(crowd.back_at[at] - killed for at in there)
            )
            self.note("a server killed: longest time without ACCEPTED", gap)
            victim.start()
            await _blocking(self.rig.await_up)
        self.note("two members that believe in rank 0", *self._overlaps(crowd))
        await crowd.close()

    async def elections(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """The stream loses its leader."""
        crowd = await self._crowd()
        for _ in range(max(3, self.rounds // 5)):
            crowd.back_at.clear()
            began = time.monotonic()
            await work()
            await asyncio.sleep(2.0)
            while crowd.accepted[-1][1] < time.monotonic() - 0.5:
                assert time.monotonic() < began + 60, "nothing is accepted any more"
                await asyncio.sleep(0.1)
            gap = await crowd.settle()
            assert not crowd.back_at, f"members lost their connections: {sorted(crowd.back_at)}"
            self.note(f"{what}: longest time without ACCEPTED", gap)
            await _blocking(self._mend_nodes)
            await asyncio.sleep(2.0)
        self.note("two members that believe in rank 0", *self._overlaps(crowd))
        await crowd.close()

    def _overlaps(self, crowd: Crowd) -> list[float]:
        return [0.0] if not crowd.leads else [0.01 * len(crowd.leads)]

    async def without_keeps(self) -> None:
        """Members without a keep of a killed server: until the others see them gone."""
        victim, other = self.rig.servers[0], self.rig.servers[1]
        first = Client([victim.address], name="first")
        await first.connect()
        second = Client([other.address], name="second")
        await second.connect()
        assert (first.rank, second.rank) == (0, 1)
        killed = time.monotonic()
        await _blocking(victim.kill)
        while _rank(second) != 0:
            assert time.monotonic() < killed + BACK_S, "a dead server's members stay in line"
            await asyncio.sleep(0.01)
        self.note("a server killed: members without a keep have left the line", time.monotonic() - killed)
        await first.close()
        await second.close()
        victim.start()
        await _blocking(self.rig.await_up)

    async def _crowd(self) -> Crowd:
        crowd = Crowd([server.address for server in self.rig.servers])
        await crowd.join()
        await asyncio.sleep(1.0)
        return crowd

    async def _kill_leader(self) -> None:
        (await self._leader()).kill()

    async def _stop_leader(self) -> None:
        (await self._leader()).stop()

    async def _step_down(self) -> None:
        assert await _blocking(self.rig.step_down)

    async def _leader(self) -> Node:
        leader = await _blocking(self.rig.leader)
        assert leader is not None
        return leader

    def _mend_nodes(self) -> None:
        """All nodes run, and have caught up."""
        for node in self.rig.nodes:
            if node.process is None:
                node.start()
            else:
                node.cont()
        self.rig.await_replicas()

    def print(self) -> None:
        print(f"{'':64} {'n':>5} {'median':>8} {'p99':>8} {'worst':>8}")
        for what, seconds in self.table.items():
            seconds.sort()
            p99 = seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))]
            print(
                f"{what:64} {len(seconds):5} {statistics.median(seconds):8.2f} {p99:8.2f} {seconds[-1]:8.2f}"
            )


async def _blocking(work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work)


def _port(client: Client) -> int:
    """The port that it is connected to."""
    return int(client.address.rpartition(":")[2])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder)) as rig:
        times = Times(rig, arguments.rounds)
        try:
            asyncio.run(times.run())
        finally:
            times.print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
