"""A line of members, the most senior first: queries about the commands among them, and the loss of one of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .frames import Accepted, Execute, Routed, State, Status
from .peer import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def states(peer: Peer) -> list[int]:
    """Which members are present (0) and absent (1), by rank."""
    return [seat.state for seat in peer.who().seats]


def lose(witness: Peer, *lost: Peer) -> None:
    """Cut the connections of members with a keep, and wait until the witness sees all of them absent."""
    for peer in lost:
        peer.close()
    tickets = {peer.ticket for peer in lost}
    deadline = time.monotonic() + DEADLINE_S
    while not tickets <= {seat.ticket for seat in witness.who().seats if seat.state == State.ABSENT}:
        assert time.monotonic() < deadline, "a member whose connection was cut is not absent"


def ask(sender: Peer, juniors: Sequence[Peer], ident: int = 1, ttl_ms: int = 0) -> int:
    """Send a command to ALL with results; returns its seq."""
    sender.command(ident, payload=b"ask", results=True, ttl_ms=ttl_ms)
    seq = sender.expect(Accepted, id=ident, executors=len(juniors)).seq
    for junior in juniors:
        junior.expect(Execute, seq=seq, flags=1)
    return seq


def expect_cancelled(sender: Peer, ident: int, executors: Sequence[Peer]) -> None:
    """A ROUTED with CANCELLED and no payload for each executor, in any order."""
    routed = [sender.expect(Routed, id=ident, status=Status.CANCELLED, payload=b"") for _ in executors]
    assert sorted(frame.ticket for frame in routed) == [peer.ticket for peer in executors]


def tickets(peer: Peer) -> list[int]:
    """The tickets of all members, by rank."""
    return [seat.ticket for seat in peer.who().seats]
