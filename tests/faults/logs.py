"""The logs of all clients of one server, read into lives, stints and events. Judges what one line alone can show.

A line is the connection's name, a kind and integers:

    H secret keep_ms last_seq ms number  HELLO with a keep, and its first command (w: it watches)
    J ticket seq rank members how keep_ms ms instance    WELCOME (B seq instance: an observer's)
    S number target flags arg ttl_ms ms  a command (N number crc: a BATON, Y number: a YIELD)
    A number seq executors rejected absent · F number code    ACCEPTED · REFUSED
    O number ticket status · D number and six counts    the final ROUTED · DONE
    E seq sender_rank rank sender number target arg crc    EXECUTE
    Q seq sender_rank rank             it ran that command (of a client whose EXECUTE lines are what it received)
    R seq rank members cause · U number seq ticket rank members    RANK · YIELDED
    M seq total, then ticket and state of each · W seq what ticket rank members    MEMBERS · CHANGED
    G seq ticket crc                   BATON
    C code · L number · X how torn ms · Z ticket rank    ERROR · it left behind that command · the end · settled
    K 1 ms ticket · K 0 ms             it believes in rank 0 from then on, and does not
    V text                             a breach that the client saw itself
    P ticket status                    an operator's kick (of no connection)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ALL, ONE, NEXT, LEAST, SET = 0, 1, 2, 3, 4
JOINED, LEFT, LOST, THROWN_OUT, ABSENT, BACK, YIELDED = 1, 2, 3, 4, 5, 6, 7
SHUTDOWN, TAKEN_OVER = 8, 12


class Hello(NamedTuple):
    """A HELLO with a keep."""

    secret: int
    keep_ms: int
    last_seq: int
    ms: int
    number: int


class Sent(NamedTuple):
    """A command as its sender knows it."""

    target: int
    flags: int
    arg: int
    ttl_ms: int
    ms: int


class Event(NamedTuple):
    """A CHANGED, without its seq."""

    what: int
    ticket: int
    rank: int
    members: int


@dataclass(eq=False)
class Stint:
    """The time in which one connection had one ticket: a window of the sequence, from `joined` to `last`."""

    life: Life
    ticket: int
    joined: int
    returned: bool
    rank_seqs: list[int]
    ranks: list[int]
    last: int
    ms: int
    seqs: list[int] = field(default_factory=list)  # of the commands to all that it got
    got: list[int] = field(default_factory=list)  # of all commands that it got
    batons: dict[int, int] = field(default_factory=dict)  # the baton's seq by the seq that gave rank 0

    def rank_at(self, seq: int) -> int:
        """Its rank at `seq`."""
        return self.ranks[bisect_right(self.rank_seqs, seq) - 1]

    def __str__(self) -> str:
        return f"{self.life.ident} (ticket {self.ticket}, {self.life.exit or 'alive'})"


@dataclass(eq=False)
class Life:
    """One connection, read from its lines."""

    ident: str
    hello: Hello | None = None
    stints: list[Stint] = field(default_factory=list)
    sent: dict[int, Sent] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    accepted: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    loud: set[int] = field(default_factory=set)
    ended: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    done: dict[int, list[int]] = field(default_factory=dict)
    ran: int = 0  # the last command that it ran
    batons: dict[int, int] = field(default_factory=dict)  # the crc by number
    yields: list[int] = field(default_factory=list)  # their numbers
    said: int | None = None  # the number of commands it had sent when it left cleanly
    exit: str = ""
    ended_ms: int = 0
    torn: int = 0
    thrown_out: int = 0  # the code of its ERROR
    settled: bool = False
    watches: bool = False
    reigns: list[tuple[int, int, int]] = field(default_factory=list)  # at rank 0: begin, end, ticket
    observed_from: int = 0  # an observer's WELCOME
    events: dict[int, Event] = field(default_factory=dict)
    lists: list[int] = field(default_factory=list)  # the seqs of its lists of members

    def stint_at(self, seq: int) -> Stint | None:
        """The stint that the connection was in when `seq` was taken."""
        return next((stint for stint in reversed(self.stints) if stint.joined < seq), None)


class Logs:
    """Read logs with `read`. `violations` are sentences; `deliveries` counts the EXECUTE frames.

    `shared`: several servers have the room. `clocks` are moments of ours, in ms, and how far the room's was ahead then.
    """

    shared = False
    clocks: Sequence[tuple[float, float]] = ()

    def __init__(self) -> None:
        self.violations: list[str] = []
        # By connection, the times in ms in which its server stood still, was cut off, ended, or may have.
        self.troubles: Callable[[Life], Sequence[tuple[float, float]]] = lambda _: ()
        self.deliveries = 0
        self.lives: dict[str, Life] = {}
        # by seq: sender, number, target, arg, rank, crc
        self.commands: dict[int, tuple[int, int, int, int, int, int]] = {}
        self.seen_by: dict[int, list[int]] = defaultdict(list)  # not to all: the receivers' tickets
        self.rank_frames: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        self.snapshots: dict[int, dict[int, int]] = {}  # the state by ticket
        self.seq_of: dict[tuple[int, int], int] = {}  # by sender and number
        self.batons: dict[int, tuple[int, int]] = {}  # the writer and the crc, by seq
        self.instances: set[int] = set()
        self.kicked: dict[int, int] = {}  # the status by ticket; 503: it may have been carried out

    def clock_lag_ms(self, begin: float, end: float) -> float:
        """How far the room's clock was behind between two moments, as a server had it from an entry that was old."""
        ahead = [ahead for moment, ahead in self.clocks if begin <= moment <= end]
        return max(ahead for _, ahead in self.clocks) - min(ahead) if ahead else 0.0

    def violate(self, text: str) -> None:
        self.violations.append(text)

    def read(self, lines: Iterable[str]) -> None:
        """Read the lines of one process. The last line of a killed process may be truncated."""
        for line in lines:
            if not line.endswith("\n"):
                continue
            ident, kind, *values = line.split()
            if kind == "V":
                self.violate(f"{ident}: {' '.join(values)}")
            elif kind == "X":
                self.note(ident, kind, values[0], int(values[1]), int(values[2]))
            else:
                self.note(ident, kind, *map(int, values))

    def note(self, ident: str, kind: str, *values: Any) -> None:
        """Take one line, split and read."""
        life = self.lives.get(ident)
        if life is None:
            life = self.lives[ident] = Life(ident)
        if kind == "X":
            life.exit, life.torn, life.ended_ms = values
        else:
            self._take(life, kind, list(values))

    def _take(self, life: Life, kind: str, values: list[int]) -> None:
        match kind:
            case "E":
                self._execute(life, *values)
            case "J":
                ticket, seq, rank, members, how, _, ms, instance = values
                self._begin(life, ticket, seq, rank, bool(how), ms)
                self.instances.add(instance)
                if not how and members != rank + 1:
                    self.violate(f"{life.ident} joined with rank {rank} of {members}")
            case "R":
                self._ranked(life, *values)
            case "S":
                number, *rest = values
                life.sent[number] = Sent(*rest)
                if not life.sent[number].flags & 2:
                    life.loud.add(number)
            case "Q":
                self._ran(life, *values)
            case "A":
                number, *counts = values
                if number in life.accepted or number in life.refused:
                    self.violate(f"{life.ident}: command {number} was accepted twice")
                life.accepted[number] = (counts[0], counts[1], counts[2], counts[3])
            case "F":
                life.refused.add(values[0])
            case "O":
                number, ticket, status = values
                if ticket in life.ended[number]:
                    self.violate(f"{life.ident}: executor {ticket} ended twice for command {number}")
                life.ended[number][ticket] = status
            case "D":
                life.done[values[0]] = values[1:]
            case "U":
                number, seq, ticket, rank, members = values
                life.loud.discard(number)
                if members != rank + 1 or ticket <= life.stints[-1].ticket:
                    self.violate(f"{life.ident} yielded to rank {rank} of {members}, as {ticket}")
                self._begin(life, ticket, seq, rank, False, 0)
            case "G":
                self._baton(life, *values)
            case "M":
                self._snapshot(life, values[0], values[1], list(zip(values[2::2], values[3::2], strict=True)))
            case "W":
                seq, *event = values
                if life.events and seq <= max(life.events):
                    self.violate(f"{life.ident} was told of {seq} behind {max(life.events)}")
                life.events[seq] = Event(*event)
            case "Z":
                life.settled = True
                if values[1] != life.stints[-1].ranks[-1]:
                    self.violate(f"{life.ident} settled with rank {values[1]}")
            case _:
                self._note(life, kind, values)

    def _note(self, life: Life, kind: str, values: list[int]) -> None:
        """The lines that are only kept."""
        match kind:
            case "H":
                life.hello = Hello(*values)
            case "N":
                life.batons[values[0]] = values[1]
                life.loud.add(values[0])
            case "Y":
                life.loud.add(values[0])
                life.yields.append(values[0])
            case "P":
                self.kicked[values[0]] = values[1]
            case "w":
                life.watches = True
            case "K":
                begin, ticket = values[1:] if values[0] else life.reigns.pop()[::2]
                life.reigns.append((begin, values[1], ticket))
            case "B":
                life.observed_from = values[0]
                self.instances.add(values[1])
            case "C":
                life.thrown_out = values[0]
            case "L":
                life.said = values[0]
                life.loud.difference_update(life.yields)  # void, if it is read in the turn of the departure
            case _:
                raise AssertionError(f"a line of kind {kind}")

    def _begin(self, life: Life, ticket: int, seq: int, rank: int, returned: bool, ms: int) -> Stint:
        stint = Stint(life, ticket, seq, returned, [seq], [rank], seq, ms)
        life.stints.append(stint)
        return stint

    def _ranked(self, life: Life, seq: int, rank: int, members: int, _cause: int) -> None:
        stint = life.stints[-1]
        self._in_order(stint, seq)
        if rank >= stint.ranks[-1]:
            self.violate(f"{life.ident} went from rank {stint.ranks[-1]} to {rank} at {seq}")
        stint.rank_seqs.append(seq)
        stint.ranks.append(rank)
        self.rank_frames[seq].append((stint.ticket, rank, members))

    def _baton(self, life: Life, seq: int, ticket: int, crc: int) -> None:
        """It comes right behind the frame that gave rank 0."""
        stint = life.stints[-1]
        gained = stint.rank_seqs[-1]
        if stint.ranks[-1] or stint.last != gained or gained in stint.batons:
            self.violate(f"{stint}, rank {stint.ranks[-1]}, got baton {seq} behind {stint.last}")
        if self.batons.setdefault(seq, (ticket, crc)) != (ticket, crc):
            self.violate(f"baton {seq} is {self.batons[seq]}, and {(ticket, crc)} for {life.ident}")
        stint.batons[gained] = seq

    def _in_order(self, stint: Stint, seq: int) -> None:
        if seq <= stint.last:
            self.violate(f"{stint} saw {seq} behind {stint.last}")
        stint.last = max(stint.last, seq)

    def _execute(
        self,
        life: Life,
        seq: int,
        sender_rank: int,
        rank: int,
        sender: int,
        number: int,
        target: int,
        arg: int,
        crc: int,
    ) -> None:
        self.deliveries += 1
        stint = life.stints[-1]
        self._in_order(stint, seq)
        entry = (sender, number, target, arg, sender_rank, crc)
        known = self.commands.setdefault(seq, entry)
        if known != entry:
            self.violate(f"seq {seq} was {known} for others and {entry} for {life.ident}")
        if self.seq_of.setdefault((sender, number), seq) != seq:
            self.violate(f"command {number} of ticket {sender} was dispatched twice, at {seq} too")
        if sender_rank >= rank:
            self.violate(f"{life.ident}, rank {rank}, was commanded by rank {sender_rank} at {seq}")
        stint.got.append(seq)
        if target == ALL:
            stint.seqs.append(seq)
        else:
            self.seen_by[seq].append(stint.ticket)

    def _ran(self, life: Life, seq: int, sender_rank: int, rank: int) -> None:
        """A client runs commands once, in their order, and only those that it got."""
        stint = life.stint_at(seq)
        at = bisect_left(stint.got, seq) if stint else 0
        if stint is None or stint.got[at : at + 1] != [seq]:
            self.violate(f"{life.ident} ran {seq}, which it never got")
        elif (sender_rank, rank) != (self.commands[seq][4], stint.rank_at(seq)):
            self.violate(f"{stint} ran {seq} as rank {rank}, of rank {sender_rank}")
        if seq <= life.ran:
            self.violate(f"{life.ident} ran {seq} behind {life.ran}")
        life.ran = max(life.ran, seq)

    def _snapshot(self, life: Life, seq: int, total: int, members: list[tuple[int, int]]) -> None:
        states = dict(members)
        if len(states) < len(members):
            self.violate(f"{life.ident}: a ticket is twice in the list of the members at {seq}")
        if len(members) != total:
            return  # one page of several
        life.lists.append(seq)
        if self.snapshots.setdefault(seq, states) != states:
            self.violate(f"two lists of the members at {seq}")


def ends_of(lives: Iterable[Life]) -> Counter[str]:
    """How the connections that had a seat ended."""
    return Counter(life.exit or ("settled" if life.settled else "killed") for life in lives if life.stints)
