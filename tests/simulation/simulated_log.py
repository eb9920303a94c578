"""A replicated log that servers of the simulated world share, and the way of one server to it.

An append may be lost, late, doubled or overtaken; in an election nothing is stored. What is stored is read by everybody
in one order, some time. `SharedLog` can also do what no log may: be deleted, rolled back or forked.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rankmux.core.cluster.entries import Kind, unpack
from rankmux.server.cluster.log import LogEvent, Opened, Read

from .world import World

if TYPE_CHECKING:
    from .node import Node

__all__ = ["Courier", "SharedLog"]

ENTRY_MAX = 1 << 20
INCARNATION = slice(4, 12)  # of an entry


class SharedLog:
    """What the log's own servers hold. `trouble` is how likely an append is lost, doubled or late.

    While it `delays_up`, every UP waits for a VERSION, and is stored right in front of it or behind it.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.created = "1"
        self.entries: dict[int, bytes] = {}
        self.last = 0
        self.stored_ms: dict[int, int] = {}
        self.trouble = 0.0
        self.delays_up = False
        self.snapshots: list[tuple[int, bytes]] = []
        self.couriers: list[Courier] = []
        self._stalled_until = 0.0
        self._late: list[bytes] = []
        self._ups: list[bytes] = []
        self._stored: list[bytes] = []  # all of them, dropped ones too
        self._written: set[tuple[int, int]] = set()
        # The world's clock in ms as each entry was written, and how far the room's was ahead of it.
        self.clocks: list[tuple[float, float]] = []

    def note(self, data: bytes) -> None:
        """An entry is written; only its first sending counts."""
        entry = unpack(0, data)
        if (entry.incarnation, entry.n) not in self._written:
            self._written.add((entry.incarnation, entry.n))
            now_ms = 1000 * self.world.now
            self.clocks.append((now_ms, entry.clock_ms - now_ms))

    @property
    def first(self) -> int:
        """The number of the first entry that is still there, or would be."""
        return next(iter(self.entries), self.last + 1)

    @property
    def least_read(self) -> int:
        """The last entry that all servers have read."""
        return min(courier.delivered for courier in self.couriers)

    @property
    def stalled(self) -> bool:
        """Whether an election goes on."""
        return self.world.now < self._stalled_until

    def elect(self, seconds: float) -> None:
        """Nothing is stored for that long. What is sent meanwhile is stored behind it, or lost, one by one."""
        if self.stalled:
            return
        self.world.trace("log", f"elects a leader for {seconds:.1f} s")
        self._stalled_until = self.world.now + seconds
        self.world.at(self._stalled_until, self._elected)

    def append(self, entry: bytes, first: bool) -> None:
        """An append arrives."""
        if self.stalled:
            if not first and self.world.chance(0.5):
                self._late.append(entry)
        elif self.delays_up and entry[1] == Kind.UP:
            self._ups.append(entry)
        elif not (first and self.last):
            ups, self._ups = (self._ups, []) if entry[1] == Kind.VERSION else ([], self._ups)
            for each in [*ups, entry] if ups and self.world.chance(0.5) else [entry, *ups]:
                self._store(each)

    def keep(self, seq: int, snapshot: bytes) -> None:
        """Two snapshots are kept; entries up to the older one are dropped."""
        if self.snapshots and seq <= self.snapshots[-1][0]:
            return
        self.world.trace("log", f"gets a snapshot of {seq}")
        self.snapshots = [*self.snapshots, (seq, snapshot)][-2:]
        if len(self.snapshots) == 2:
            for old in range(self.first, self.snapshots[0][0] + 1):
                del self.entries[old]

    def echo(self) -> None:
        """What one incarnation of a server has written from its UP on arrives once more, some of it."""
        ups = [at for at, entry in enumerate(self._stored) if entry[1] == Kind.UP]
        if ups:
            at = self.world.random.choice(ups)
            writer = self._stored[at][INCARNATION]
            again = [entry for entry in self._stored[at:] if entry[INCARNATION] == writer]
            for entry in again[: self.world.random.choice((1, 10, 100))]:
                self.append(entry, first=False)

    def delete(self) -> None:
        """The log is gone, and a new one of the same name is there."""
        self.created += "'"
        self.entries, self.snapshots, self.last = {}, [], 0
        self._reopen()

    def roll_back(self, count: int) -> None:
        """The last entries are lost, as in a copy from before them."""
        for seq in range(self.last - count + 1, self.last + 1):
            self.entries.pop(seq, None)
        self.last -= count
        self._reopen()

    def fork(self, seq: int) -> None:
        """An entry is another one from now on, with a right checksum, for those that read it from now on."""
        self.entries[seq] = self.entries[seq - 1]

    def _reopen(self) -> None:
        for courier in self.couriers:
            courier.lose()

    def _elected(self) -> None:
        late, self._late = self._late, []
        for entry in late:
            self._store(entry)

    def _store(self, entry: bytes) -> None:
        self.last += 1
        self.stored_ms[self.last] = int(1000 * self.world.now)
        self.entries[self.last] = entry
        self._stored.append(entry)
        for courier in self.couriers:
            courier.pump()


class Courier:
    """One server's way to the log. `delay_s` is what reading takes on top, for a while."""

    restarts = stored = 0
    lacking = False

    @property
    def newest(self) -> int:
        return self._shared.last

    def __init__(self, shared: SharedLog, node: Node) -> None:
        self.delay_s = 0.0
        self._shared, self._node, self._world = shared, node, shared.world
        self._ready: deque[LogEvent] = deque()
        self._next = 0  # the entry that is read next; 0: not open
        self._tries = 0
        self._last_at = 0.0
        self._applied = 0  # where reading begins
        self.delivered = 0  # the last entry that the server has got
        self._closed = False
        shared.couriers.append(self)

    # The port.

    def open(self, applied: int, now: float) -> None:
        self._applied = self.delivered = applied
        self._reopen()

    def append(self, entry: bytes, *, first: bool = False) -> None:
        if self._shared.entries:  # until there are some, each server has a clock of its own
            self._shared.note(entry)
        draw, shared = self._world.random, self._shared
        copies = draw.choice((0, 0, 2)) if self._world.chance(shared.trouble) else 1
        for _ in range(copies):
            delay_s = draw.uniform(0.0005, 0.003)
            if self._world.chance(shared.trouble):
                delay_s += draw.choice((0.01, 0.2, 3.0))
            self._world.after(delay_s, lambda: self._arrive(entry, first))

    def store(self, seq: int, snapshot: bytes) -> None:
        self._world.after(0.05, lambda: self._shared.keep(seq, snapshot))

    def poll(self, now: float) -> list[LogEvent]:
        most = self._world.random.choice((1, 4, 64))
        return [self._ready.popleft() for _ in range(min(most, len(self._ready)))]

    def patience(self, now: float) -> float:
        return 0.0 if self._ready else float("inf")

    def close(self) -> None:
        self._closed = True
        if self in self._shared.couriers:
            self._shared.couriers.remove(self)

    # The simulation.

    def lose(self) -> None:
        """The connection to the log is lost: what is on its way is, too, and reading begins again."""
        if self._next:
            self._applied = self.delivered
            self._reopen()

    def pump(self) -> None:
        """Send the server what it has not got yet."""
        shared = self._shared
        if 0 < self._next < shared.first:  # they were dropped meanwhile
            self.lose()
        while self._next and self._next <= shared.last and not self._node.log_deaf:
            self._send(Read(self._next, shared.entries[self._next], shared.stored_ms[self._next]))
            self._next += 1

    def _arrive(self, entry: bytes, first: bool) -> None:
        if not self._node.log_mute:
            self._shared.append(entry, first)

    def _reopen(self) -> None:
        self._next = 0
        self._tries += 1
        tries = self._tries
        self._world.after(self._world.random.uniform(0.005, 0.1), lambda: self._begin(tries))

    def _begin(self, tries: int) -> None:
        if self._closed or tries != self._tries:
            return
        shared = self._shared
        if self._node.log_deaf or self._node.log_mute or shared.stalled:
            self._world.after(0.1, lambda: self._begin(tries))
            return
        applied, (seq, snapshot) = self._applied, (shared.snapshots or [(0, b"")])[-1]
        if applied and applied + 1 >= shared.first:
            seq, snapshot = 0, b""
        at_ms = int(1000 * self._world.now)
        latest = b"" if seq else shared.entries.get(applied, b"")
        self._send(Opened(shared.created, shared.last, ENTRY_MAX, seq, snapshot, at_ms, latest))
        self._next = max(applied, seq) + 1
        self.pump()

    def _send(self, event: LogEvent) -> None:
        """Reading is in order, whatever it takes."""
        draw = self._world.random
        self._last_at = max(self._last_at, self._world.now + draw.uniform(0.0003, 0.002) + self.delay_s)
        tries, seen = self._tries, event.snapshot_seq if isinstance(event, Opened) else 0

        def arrive() -> None:
            if self._closed or tries != self._tries:
                return
            self.delivered = event.seq if isinstance(event, Read) else max(self.delivered, seen)
            self._ready.append(event)
            self._node.poke()

        self._world.at(self._last_at, arrive)
