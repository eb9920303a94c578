"""What must hold beside the rules of the history checker: reigns, executors, and equal states of several servers."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from rankmux.core.cluster import snapshot

from ..faults.checker import History
from ..faults.logs import ALL, BACK, JOINED, Stint

if TYPE_CHECKING:
    from .member import Member
    from .node import Node

__all__ = ["Digests", "Reign", "Reigns", "check_executors"]


@dataclass
class Reign:
    """A time in which `client`, connected to `server`, held rank 0."""

    begin: float
    end: float
    client: str
    server: str
    ticket: int

    def __str__(self) -> str:
        span = f"from {self.begin - 1000:.4f} to {self.end - 1000:.4f}"
        return f"{self.client} on {self.server}, ticket {self.ticket}, {span}"


class Reigns:
    """Who held rank 0 from when to when, as the servers said it; a client that asks to leave or to yield ends its own.

    Two may overlap only where a process was stopped, or could not hear of it: `trouble`.
    """

    def __init__(self) -> None:
        self.reigns: list[Reign] = []
        self._trouble: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def add(self, member: Member, begin: float, end: float) -> Reign:
        reign = Reign(begin, end, member.client.name, member.node.name, member.ticket)
        self.reigns.append(reign)
        return reign

    def troubles(self, name: str) -> list[tuple[float, float]]:
        """The times in which that client or server was in trouble."""
        return self._trouble[name]

    def trouble(self, name: str, begin: float, end: float) -> None:
        """That client or server was stopped, or cut off from somebody."""
        self._trouble[name].append((begin, end))

    def check(self, history: History) -> None:
        longest: Reign | None = None
        for reign in sorted(self.reigns, key=attrgetter("begin", "end")):
            overlap = longest is not None and reign.begin < longest.end and reign.client != longest.client
            if longest is not None and overlap and not self._troubled(longest, reign):
                history.violate(f"two hold rank 0: {longest}, and {reign}")
            if longest is None or reign.end > longest.end:
                longest = reign

    def _troubled(self, one: Reign, other: Reign) -> bool:
        begin, end = other.begin, min(one.end, other.end)
        return any(
            first <= end and begin <= last
            for name in (one.client, one.server, other.client, other.server)
            for first, last in self._trouble[name]
        )


class Digests:
    """The states of all servers by the number of the last entry that they have applied.

    A server that was taken for dead, or has said BYE, is never up again as the one that it was.

    `members`: by ticket, the seqs between which the room has had it; no client may know of one that got no WELCOME.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._by_seq: dict[int, tuple[bytes, str]] = {}
        self.compared = 0
        self._newest = 0  # the last entry that any server has applied
        self._up: set[int] = set()  # behind it, by incarnation
        self._gone: set[int] = set()
        self.members: dict[int, tuple[int, float]] = {}
        self._room: tuple[int, set[int]] = (0, set())  # the newest seq, and the tickets behind it

    def look(self, node: Node, seq: int) -> None:
        """A server has applied everything up to `seq`."""
        assert node.server is not None
        fold = node.server._sequencer._fold
        if fold.genesis is None:
            return
        if seq > self._newest:
            self._newest, before, self._up = seq, self._up, set(fold.up)
            self._gone |= before - self._up
            if self._gone & self._up:
                self._history.violate(f"behind entry {seq}, a server is up that was gone for good")
            self._note_members(fold.room.seq, set(fold.room.ranks.tickets))
        digest = hashlib.blake2b(snapshot.dump(fold), digest_size=12).digest()
        known, name = self._by_seq.setdefault(seq, (digest, node.name))
        if name != node.name:
            self.compared += 1
        if known != digest:
            self._history.violate(f"behind entry {seq}, the states of {name} and {node.name} differ")

    def _note_members(self, seq: int, tickets: set[int]) -> None:
        before_seq, before = self._room
        for ticket in tickets - before:
            self.members[ticket] = before_seq, float("inf")
        for ticket in before - tickets:
            self.members[ticket] = self.members[ticket][0], seq
        self._room = seq, tickets


def check_executors(history: History, members: Mapping[int, tuple[int, float]] | None = None) -> None:
    """A command that was accepted for n executors reached n of them, as far as they stayed.

    `members`: the seqs between which the room had each ticket, where the servers' own word for it is at hand.
    """
    seats: dict[int, list[Stint]] = defaultdict(list)
    got: Counter[int] = Counter()
    for life in history.lives.values():
        for stint in life.stints:
            seats[stint.ticket].append(stint)
            got.update(stint.got)
    windows = _windows(history, seats)
    seen = {ticket for ticket, *_ in windows}
    windows += [
        (ticket, begin, begin, end) for ticket, (begin, end) in (members or {}).items() if ticket not in seen
    ]
    for life in history.lives.values():
        for number, (seq, executors, _, _) in life.accepted.items():
            sender = life.stint_at(seq)
            if number in life.batons or sender is None or number not in life.sent:
                continue
            if got[seq] > executors:
                history.violate(f"{life.ident}: command {number}, {seq}, reached {got[seq]} of {executors}")
            elif got[seq] < executors and life.sent[number].target != ALL:
                lost = any(
                    ticket > sender.ticket and begin < seq < end and last < seq
                    for ticket, begin, last, end in windows
                )
                if not lost:
                    history.violate(
                        f"{life.ident}: command {number}, {seq}, reached {got[seq]} of {executors}"
                    )


def _windows(history: History, seats: dict[int, list[Stint]]) -> list[tuple[int, int, int, float]]:
    """The times in which a member was connected: ticket, its begin, up to where it has got everything, its end.

    Begin and end are the seqs of what was said of the seat: it is over when the member went, or was absent, and at the
    latest when another connection has returned to it.
    """
    found: dict[int, dict[int, int]] = defaultdict(dict)
    ends: dict[int, set[int]] = defaultdict(set)
    returns: set[tuple[int, int]] = set()
    for ticket, stints in seats.items():
        found[ticket] = {stint.joined: stint.last for stint in stints}
        returns |= {(ticket, stint.joined) for stint in stints if stint.returned}
    # Members whose WELCOME or YIELDED nobody got are known from what watchers were told, from lists, and from returns.
    for life in history.lives.values():
        for seq, event in life.events.items():
            if event.what in (JOINED, BACK):
                found[event.ticket].setdefault(seq, seq)
                if event.what == BACK:
                    returns.add((event.ticket, seq))
            else:
                ends[event.ticket].add(seq)
    for listed, states in history.snapshots.items():
        for ticket in states:
            if listed < min(found[ticket], default=listed + 1):
                found[ticket][0] = 0
    for ticket, seq in returns:
        if seq == min(found[ticket]):
            found[ticket][0] = 0
    windows = []
    for ticket, times in found.items():
        marks = sorted({*times, *ends[ticket]})
        for begin in sorted(times):
            end = next((mark for mark in marks if mark > begin), float("inf"))
            windows.append((ticket, begin, times[begin], end))
    return windows
