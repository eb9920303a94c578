"""Section 5: what a line of members, the most senior first, can tell of the commands among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .frames import Execute

if TYPE_CHECKING:
    from .peer import Peer


def executors(line: list[Peer]) -> list[int]:
    """The ranks of those that an EXECUTE has reached since they were last asked."""
    reached = []
    for rank, peer in enumerate(line):
        executes = [frame for frame in peer.settle() if isinstance(frame, Execute)]
        assert len(executes) <= 1
        reached += [rank] * len(executes)
    return reached


def loads(peer: Peer) -> list[int]:
    """The loads of all members, by rank."""
    return [seat.load for seat in peer.who().seats]
