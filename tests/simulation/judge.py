"""What must hold beside the rules of the history checker: reigns, executors, and equal states of several servers."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from ..faults.checker import History
from ..faults.logs import ALL, BACK, JOINED, Stint

if TYPE_CHECKING:
    from .member import Member
    from .node import Node

__all__ = ["Digests", "Reigns", "check_executors"]


class Reigns:
    """Who held rank 0 from when to when, as the servers said it; a client that asks to leave or to yield ends its own.

    Two may overlap only where a process was stopped, or could not hear of it: `trouble`.
    """

    def __init__(self) -> None:
        self.reigns: list[tuple[float, float, str, str, int]] = []
        self._trouble: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def add(self, member: Member, begin: float, end: float) -> None:
        self.reigns.append((begin, end, member.client.name, member.node.name, member.ticket))

    def trouble(self, name: str, begin: float, end: float) -> None:
        """That client or server was stopped, or cut off from somebody."""
        self._trouble[name].append((begin, end))

    def check(self, history: History) -> None:
        reigns = sorted(self.reigns)
        latest = reigns[0] if reigns else None
        for reign in reigns[1:]:
            assert latest is not None
            begin, end, client, server, ticket = latest
            if reign[0] < end and reign[2] != client:
                until = min(end, reign[1])
                troubled = any(
                    first <= until and reign[0] <= last
                    for name in (client, server, reign[2], reign[3])
                    for first, last in self._trouble[name]
                )
                if not troubled:
                    history.violate(
                        f"{client} on {server} held rank 0 as {ticket} from {begin - 1000:.4f} to {end - 1000:.4f}, and "
                        f"{reign[2]} on {reign[3]} as {reign[4]} from {reign[0] - 1000:.4f} on"
                    )
            if reign[1] > end:
                latest = reign


class Digests:
    """The states of all servers by the number of the last entry that they have applied."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._by_seq: dict[int, tuple[bytes, str]] = {}
        self.compared = 0

    def look(self, node: Node, seq: int) -> None:
        """A server has applied everything up to `seq`."""
        assert node.server is not None
        digest = hashlib.blake2b(node.server.room.dump(), digest_size=12).digest()
        known, name = self._by_seq.setdefault(seq, (digest, node.name))
        if name != node.name:
            self.compared += 1
        if known != digest:
            self._history.violate(f"behind entry {seq}, the rooms of {name} and {node.name} differ")


def check_executors(history: History) -> None:
    """A command that was accepted for n executors reached n of them, as far as they stayed."""
    seats: dict[int, list[Stint]] = defaultdict(list)
    got: Counter[int] = Counter()
    for life in history.lives.values():
        for stint in life.stints:
            seats[stint.ticket].append(stint)
            got.update(stint.got)
    # The windows of all members: from when on each could have got something, and up to when it has got everything.
    windows = [(ticket, stint.joined, stint.last) for ticket, stints in seats.items() for stint in stints]
    # Members whose WELCOME or YIELDED nobody got are known from what watchers were told, and from lists.
    known = {joined for _, joined, _ in windows}
    told = {seq: event for life in history.lives.values() for seq, event in life.events.items()}
    windows += [
        (event.ticket, seq, seq)
        for seq, event in told.items()
        if event.what in (JOINED, BACK) and seq not in known
    ]
    listed = {ticket for states in history.snapshots.values() for ticket in states}
    windows += [(ticket, 0, 0) for ticket in listed - seats.keys()]
    for life in history.lives.values():
        for number, (seq, executors, _, _) in life.accepted.items():
            sender = life.stint_at(seq)
            if number in life.batons or sender is None or number not in life.sent:
                continue
            if got[seq] > executors:
                history.violate(f"{life.ident}: command {number}, {seq}, reached {got[seq]} of {executors}")
            elif got[seq] < executors and life.sent[number].target != ALL:
                lost = any(t > sender.ticket and joined < seq and last < seq for t, joined, last in windows)
                if not lost:
                    history.violate(
                        f"{life.ident}: command {number}, {seq}, reached {got[seq]} of {executors}"
                    )
