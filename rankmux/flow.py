"""Pacing: who is not read from for now, because it fills somebody who does not keep up. Knows descriptors, no sockets.

A sender waits for the receivers that it filled while they were over their soft limit, until each is back under half of
it or gone. Nothing is counted per frame: who filled whom is looked up in a turn's deliveries, for those receivers only.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from struct import Struct

from .codes import Status
from .deliveries import Deliveries

__all__ = ["Pacing"]

_ROUTED_HEAD = Struct(
    "!I5xQ4xB"
)  # length, type and id passed over, the executor's ticket, rank passed over, status
_SENDER_RANK = Struct("!13xI")  # of an EXECUTE: length, type and seq passed over


class Pacing:
    """`hold(fd)` and `release(fd)` are called when a sender begins and ceases to wait; `over`: whom it may wait for."""

    def __init__(self, over: set[int], hold: Callable[[int], None], release: Callable[[int], None]) -> None:
        self.holds = 0  # so often has a sender been made to wait
        self._over = over
        self._hold = hold
        self._release = release
        self._waits_for: dict[int, set[int]] = {}

    def __contains__(self, fd: int) -> bool:
        return fd in self._waits_for

    def __len__(self) -> int:
        return len(self._waits_for)

    def wait(self, sender: int, receivers: Iterable[int]) -> None:
        """`sender` is not read from until none of `receivers` is over its limit."""
        waits_for = self._waits_for.get(sender)
        if waits_for is None:
            self._waits_for[sender] = set(receivers)
            self.holds += 1
            self._hold(sender)
        else:
            waits_for.update(receivers)

    def forget(self, fd: int) -> None:
        """That connection ended: it waits for nobody."""
        self._waits_for.pop(fd, None)

    def settle(self) -> None:
        """Let those go on whose receivers have caught up."""
        free = []
        for sender, receivers in self._waits_for.items():
            if receivers.isdisjoint(self._over):
                free.append(sender)
            elif len(receivers) > 64:
                receivers.intersection_update(self._over)
        for sender in free:
            del self._waits_for[sender]
            self._release(sender)

    def judge(self, ranks: list[int], deliveries: Deliveries, tickets: array[int], peers: array[int]) -> None:
        """Those at `ranks` (rising) are over their limit and got something in this turn: who sent it, waits."""
        fds = [peers[rank] for rank in ranks]
        for sender, _ in deliveries.steps:
            first = bisect_left(ranks, sender + 1)
            if first < len(ranks):
                self.wait(peers[sender], fds[first:])
        for rank, fd in zip(ranks, fds, strict=True):
            for _, frame in deliveries.directed.get(rank, ()):
                (sender,) = _SENDER_RANK.unpack_from(frame)
                self.wait(peers[sender], (fd,))
            ticket = tickets[rank]
            for executor in _executors(deliveries.routed.get(ticket, b"")):
                at = bisect_left(tickets, executor)
                if at < len(tickets) and tickets[at] == executor:
                    self.wait(peers[at], (fd,))
            own = (deliveries.accepted, deliveries.refused, deliveries.members, deliveries.pongs)
            if any(ticket in kind for kind in own):
                self.wait(fd, (fd,))


def _executors(routed: bytes | bytearray) -> set[int]:
    """The tickets of those whose results lie in these ROUTED frames."""
    tickets = set()
    at = 0
    while at < len(routed):
        length, ticket, status = _ROUTED_HEAD.unpack_from(routed, at)
        if status not in (Status.EXPIRED, Status.LEFT):  # these two nobody sent
            tickets.add(ticket)
        at += 4 + length
    return tickets
