"""A line of members, the most senior first, and queries about the commands among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .frames import Execute

if TYPE_CHECKING:
    from .peer import Peer


def executors(line: list[Peer]) -> list[int]:
    """The ranks that have received an EXECUTE since the last call."""
    reached = []
    for rank, peer in enumerate(line):
        executes = [frame for frame in peer.settle() if isinstance(frame, Execute)]
        assert len(executes) <= 1
        reached += [rank] * len(executes)
    return reached


def loads(peer: Peer) -> list[int]:
    """The loads of all members, by rank."""
    return [seat.load for seat in peer.who().seats]
