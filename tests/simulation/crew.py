"""The simulated clients: each joins, commands, answers, loses its connection, and finds its seat again somewhere.

With several addresses a client goes on to the next one at once when it is refused, sent away or lost, and waits after
a round in which nobody took it.
"""

from __future__ import annotations

from rankmux.codes import ErrorCode, HelloFlag

from ..faults.checker import History
from .judge import Reigns
from .member import OBSERVER, Kept, Member
from .network import Host, connection
from .node import Node
from .world import World

__all__ = ["Client", "Crew"]

CAPACITY = 16 << 10  # of a connection, each way
GREETED_S = 3.0  # a WELCOME takes no longer, or another address is tried
LOOK_S = 0.5


class Client:
    """A program that uses the servers at `crew.nodes`. `keeps`: it asks for a keep; `flags` of its HELLOs."""

    def __init__(self, crew: Crew, name: str, keep_ms: int, flags: int) -> None:
        self.crew, self.world, self.name, self.keep_ms, self.flags = crew, crew.world, name, keep_ms, flags
        self.host = Host(name)
        self.kept = self._new_seat()
        self.members: list[Member] = []  # the newest last
        self.stopped_until = self.cut_until = 0.0
        self._at = self.world.random.randrange(len(crew.nodes))
        self.node = crew.nodes[0]
        self._lives = 0
        self._in_vain = 0  # addresses tried since the last WELCOME
        self._port = 20_000

    @property
    def stopped(self) -> bool:
        """Whether its process is stopped."""
        return self.world.now < self.stopped_until

    @property
    def newest(self) -> Member | None:
        """Its connection, the one that counts."""
        return self.members[-1] if self.members else None

    def start(self) -> None:
        self.connect()
        self._live()
        if not self.flags & OBSERVER:
            self._act()

    def connect(self) -> None:
        """Connect to the present address; a connection that is there stays: the new one takes its seat."""
        node = self.node = self.crew.nodes[self._at % len(self.crew.nodes)]
        ours, theirs = connection(self.world, self.host, node, CAPACITY)
        self._port += 1
        port = self._port

        def arrive() -> None:
            if not node.connect(theirs, port):
                theirs.close(reset=True)

        ours.outgoing.open(arrive)
        self._lives += 1
        ident = f"{self.name}.{self._lives}"
        self.world.trace(ident, f"connects to {node.name}")
        member = Member(self, ours, ident, self.kept, self.flags)
        self.members.append(member)
        self.world.after(
            GREETED_S, lambda: None if member.welcome or member.over else member.drop("our-reset")
        )

    def welcomed(self) -> None:
        self._in_vain = 0

    def turned_away(self, code: ErrorCode) -> None:
        self.crew.errors[code] = self.crew.errors.get(code, 0) + 1

    def lost(self, member: Member, _how: str) -> None:
        """One of its connections is over."""
        newest = member is self.newest
        self.members.remove(member)
        if not newest or self.crew.closed:
            return
        draw = self.world.random
        if member.leaving and draw.random() < 0.5:
            self.kept = self._new_seat()
        if self.kept is not None and draw.random() < 0.2:  # started anew: it knows the secret alone
            self.kept.last_seq = 0
            self.kept.owed.clear()
        self._at += 1
        self._in_vain += 1
        if self._in_vain > len(self.crew.nodes) or member.leaving:
            wait_s = draw.uniform(0.2, 1.0)
        elif draw.random() < 0.2:
            wait_s = draw.uniform(0.0, 3.0)
        else:
            wait_s = draw.uniform(0.0, 0.02)
        self.world.after(wait_s, self._again)

    def take_over(self) -> None:
        """Connect once more, at another address if there is one."""
        if self.kept is not None and self.newest is not None and self.newest.seated:
            self._at += 1
            self.connect()

    def stop_for(self, seconds: float) -> None:
        """Stop its process."""
        self.stopped_until = self.world.now + seconds
        self.trouble(seconds)
        self.world.at(self.stopped_until, self.look)

    def be_deaf(self, seconds: float) -> None:
        """Read nothing."""
        if self.newest is not None:
            self.newest.deaf_until = self.world.now + seconds
            self.trouble(seconds)
            self.world.at(self.newest.deaf_until, self.look)

    def be_cut_off(self, seconds: float, *, deaf: bool, mute: bool) -> None:
        """Be cut off from all servers."""
        if self.host.cut_off(deaf=deaf, mute=mute):
            self.cut_until = self.world.now + seconds
            self.trouble(seconds)
            self.world.at(self.cut_until, self.host.heal)

    def trouble(self, seconds: float) -> None:
        """For that long, it does not learn what happens."""
        self.crew.reigns.trouble(self.name, self.world.now, self.world.now + seconds)

    def look(self) -> None:
        for member in list(self.members):
            member.look()

    def _again(self) -> None:
        if not self.members and not self.crew.closed:
            if self.stopped:
                self.world.at(self.stopped_until, self._again)
            else:
                self.connect()

    def _live(self) -> None:
        """Look after the connections, now and then."""
        if not self.stopped:
            for member in list(self.members):
                if member.welcome:
                    member.check_life()
            newest = self.newest
            if self.flags & OBSERVER and newest is not None and newest.welcome and not self.crew.quiet:
                newest.list_members()
        self.world.after(LOOK_S, self._live)

    def _act(self) -> None:
        draw, member = self.world.random, self.newest
        if member is not None and member.seated and not self.crew.quiet and not self.stopped:
            what = draw.random()
            if what < 0.04:
                member.give_up()
            elif what < (0.2 if member.rank == 0 else 0.07):
                member.write_baton()
            elif what > 0.985:
                member.leave()
            else:
                for _ in range(draw.choice((1, 1, 1, 3))):
                    member.command()
        self.world.after(draw.expovariate(1 / self.crew.pace_s), self._act)

    def _new_seat(self) -> Kept | None:
        return Kept(self.world.random.randbytes(16), self.keep_ms) if self.keep_ms else None


class Crew:
    """All clients of a run. `quiet`: nobody sends commands any more; `closed`: nobody connects."""

    def __init__(self, world: World, nodes: list[Node], size: int, pace_s: float, ping_s: float) -> None:
        self.world, self.nodes, self.pace_s, self.ping_s = world, nodes, pace_s, ping_s
        self.history = History(len(nodes))
        self.reigns = Reigns()
        self.errors: dict[ErrorCode, int] = {}
        self.servers: dict[str, str] = {}  # of all connections
        self.quiet = self.closed = False
        draw = world.random
        self.watchers = [
            Client(self, f"w{n}", 0, OBSERVER | HelloFlag.WATCH) for n in range(min(2, len(nodes)))
        ]
        self.clients = [
            Client(
                self,
                f"c{n}",
                draw.choice((0, 300, 2000, 5000)),
                HelloFlag.WATCH if draw.random() < 0.2 else 0,
            )
            for n in range(size)
        ]

    def start(self) -> None:
        """The watchers first: they see everything."""
        for client in self.watchers:
            client.start()
        for client in self.clients:
            self.world.after(0.3 + self.world.random.random(), client.start)

    def settle(self) -> None:
        """Everybody asks for the answer that tells that everything has come."""
        for client in [*self.clients, *self.watchers]:
            for member in list(client.members):
                member.settle()

    @property
    def settled(self) -> bool:
        """Whether everybody has it."""
        return all(len(c.members) == 1 and c.members[0].settled for c in self.clients)
