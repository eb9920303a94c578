"""Pacing: the senders that wait, because they send to receivers that do not keep up.

A sender waits for the receivers that it filled while they were over their soft limit, until each is under half of that
limit or gone. Nothing is counted per frame: the senders are looked up in a turn's deliveries, and only for receivers
that are over. Members are named by ticket.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from .room.deliveries import Deliveries
from .wire.codes import FrameType, Status
from .wire.layouts import EXECUTE_FRAME, LENGTH_BYTES, ROUTED_FRAME

__all__ = ["Pacing"]

_EXECUTE_TYPE = int(FrameType.EXECUTE)
_OF_THE_SERVER = (Status.EXPIRED, Status.LEFT, Status.CANCELLED)


class Pacing:
    """The senders that wait. `over` is the outbox's set of receivers over their limit; `holds` counts new waits.

    `elsewhere`  receivers over their limit that are connected to other servers
    """

    def __init__(self, over: set[int]) -> None:
        self.holds = 0
        self.elsewhere: set[int] = set()
        self._over = over
        self._waits_for: dict[int, list[tuple[list[int], int]]] = {}
        self._crowd: list[int] = []

    def __contains__(self, sender: int) -> bool:
        return sender in self._waits_for

    def __len__(self) -> int:
        return len(self._waits_for)

    def wait(self, sender: int, receivers: list[int], first: int = 0) -> bool:
        """Have `sender` wait until none of `receivers[first:]` is over its limit; True when it did not wait before.

        The list is kept and gets shorter. Senders that wait for different ends of it share it, so each costs no more
        than its place in it.
        """
        waits = self._waits_for.get(sender)
        if waits is not None:
            waits.append((receivers, first))
            return False
        self._waits_for[sender] = [(receivers, first)]
        self.holds += 1
        return True

    def crowd(self, receivers: list[int]) -> list[int]:
        """A list of `receivers` for `wait`: the same list as in the turn before if they are the same."""
        if receivers != self._crowd:
            self._crowd = receivers
        return self._crowd

    def forget(self, sender: int) -> None:
        """`sender` ended."""
        self._waits_for.pop(sender, None)

    def release(self) -> list[int]:
        """The senders whose receivers have caught up; they wait no longer."""
        free = []
        for sender, waits in self._waits_for.items():
            while waits and self._caught_up(*waits[-1]):
                waits.pop()
            if not waits:
                free.append(sender)
        for sender in free:
            del self._waits_for[sender]
        return free

    def _caught_up(self, receivers: list[int], first: int) -> bool:
        while receivers and receivers[-1] not in self._over and receivers[-1] not in self.elsewhere:
            receivers.pop()
        return len(receivers) <= first

    def judge(self, ranks: list[int], deliveries: Deliveries, tickets: array[int]) -> list[int]:
        """The senders that begin to wait: those of the bytes that a turn brought to the full receivers at `ranks`.

        `ranks` are rising; `tickets` are by rank as of the start of the turn.
        """
        receivers = self.crowd([tickets[rank] for rank in ranks])
        began = []
        for rank, _ in deliveries.steps:
            first = bisect_left(ranks, rank + 1)
            if first < len(ranks) and self.wait(tickets[rank], receivers, first):
                began.append(tickets[rank])
        for rank, receiver in zip(ranks, receivers, strict=True):
            executes = (frame for _, frame in deliveries.directed.get(rank, ()) if frame[4] == _EXECUTE_TYPE)
            senders = {tickets[_sender_rank(frame)] for frame in executes}
            for executor in _executors(deliveries.routed.get(receiver, b"")):
                at = bisect_left(tickets, executor)
                if at < len(tickets) and tickets[at] == executor:
                    senders.add(executor)
            own = (deliveries.accepted, deliveries.refused, deliveries.members, deliveries.pongs)
            if any(receiver in kind for kind in own):
                senders.add(receiver)
            began += [sender for sender in senders if self.wait(sender, [receiver])]
        return began


def _sender_rank(execute: bytes) -> int:
    """The rank of the sender of an EXECUTE frame."""
    _, _, _, sender_rank, _, _ = EXECUTE_FRAME.unpack_from(execute)
    return int(sender_rank)


def _executors(routed: bytes | bytearray) -> set[int]:
    """The tickets of the members that sent the results in these ROUTED frames."""
    tickets = set()
    at = 0
    while at < len(routed):
        length, _, _, ticket, _, status = ROUTED_FRAME.unpack_from(routed, at)
        if status not in _OF_THE_SERVER:
            tickets.add(ticket)
        at += LENGTH_BYTES + length
    return tickets
