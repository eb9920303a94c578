"""Pacing: who is not read from for now, because it fills somebody who does not keep up. Knows descriptors, no sockets.

A sender waits for the receivers that it filled while they were over their soft limit, until each is back under half of
it or gone. Nothing is counted per frame: who filled whom is looked up in a turn's deliveries, for those receivers only.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable

from .room.deliveries import Deliveries
from .wire.codes import Status
from .wire.layouts import EXECUTE_FRAME, LENGTH_BYTES, ROUTED_FRAME

__all__ = ["Pacing"]


class Pacing:
    """`hold(fd)` and `release(fd)` are called when a sender begins and ceases to wait; `over`: whom it may wait for."""

    def __init__(self, over: set[int], hold: Callable[[int], None], release: Callable[[int], None]) -> None:
        self.holds = 0  # so often has a sender been made to wait
        self._over = over
        self._hold = hold
        self._release = release
        self._waits_for: dict[int, list[tuple[list[int], int]]] = {}
        self._crowd: list[int] = []

    def __contains__(self, fd: int) -> bool:
        return fd in self._waits_for

    def __len__(self) -> int:
        return len(self._waits_for)

    def wait(self, sender: int, receivers: list[int], first: int = 0) -> None:
        """`sender` is not read from until none of `receivers` from the `first` on is over its limit.

        The list is kept, and gets shorter: it may be shared by all who wait for some end of it, so that each costs no
        more than its place in it.
        """
        waits = self._waits_for.get(sender)
        if waits is None:
            self._waits_for[sender] = [(receivers, first)]
            self.holds += 1
            self._hold(sender)
        else:
            waits.append((receivers, first))

    def crowd(self, receivers: list[int]) -> list[int]:
        """A list of them to `wait` for: the same one as the last time, turn after turn, if they are the same."""
        if receivers != self._crowd:
            self._crowd = receivers
        return self._crowd

    def forget(self, fd: int) -> None:
        """That connection ended: it waits for nobody."""
        self._waits_for.pop(fd, None)

    def settle(self) -> None:
        """Let those go on whose receivers have caught up."""
        free = []
        for sender, waits in self._waits_for.items():
            while waits and self._caught_up(*waits[-1]):
                waits.pop()
            if not waits:
                free.append(sender)
        for sender in free:
            del self._waits_for[sender]
            self._release(sender)

    def _caught_up(self, receivers: list[int], first: int) -> bool:
        while receivers and receivers[-1] not in self._over:
            receivers.pop()
        return len(receivers) <= first

    def judge(self, ranks: list[int], deliveries: Deliveries, tickets: array[int], peers: array[int]) -> None:
        """Those at `ranks` (rising) are over their limit and got something in this turn: who sent it, waits."""
        fds = self.crowd([peers[rank] for rank in ranks])
        for sender, _ in deliveries.steps:
            first = bisect_left(ranks, sender + 1)
            if first < len(ranks):
                self.wait(peers[sender], fds, first)
        for rank, fd in zip(ranks, fds, strict=True):
            senders = {_sender_rank(frame) for _, frame in deliveries.directed.get(rank, ())}
            ticket = tickets[rank]
            for executor in _executors(deliveries.routed.get(ticket, b"")):
                at = bisect_left(tickets, executor)
                if at < len(tickets) and tickets[at] == executor:
                    senders.add(at)
            own = (deliveries.accepted, deliveries.refused, deliveries.members, deliveries.pongs)
            if any(ticket in kind for kind in own):
                senders.add(rank)
            for sender in senders:
                self.wait(peers[sender], [fd])


def _sender_rank(execute: bytes) -> int:
    """The rank of the sender of an EXECUTE frame."""
    _, _, _, sender_rank, _, _ = EXECUTE_FRAME.unpack_from(execute)
    return int(sender_rank)


def _executors(routed: bytes | bytearray) -> set[int]:
    """The tickets of those whose results lie in these ROUTED frames."""
    tickets = set()
    at = 0
    while at < len(routed):
        length, _, _, ticket, _, status = ROUTED_FRAME.unpack_from(routed, at)
        if status not in (Status.EXPIRED, Status.LEFT):  # these two nobody sent
            tickets.add(ticket)
        at += LENGTH_BYTES + length
    return tickets
