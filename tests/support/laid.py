"""Turns in the form in which they are sent, and a naive computation of the bytes that each rank must receive."""

from __future__ import annotations

from array import array
from collections.abc import Container
from dataclasses import dataclass, field

from hypothesis import strategies as st

from rankmux.core.room.deliveries import RANK_FRAME_BYTES, Deliveries


@dataclass
class Laid:
    """`frames` are (sender's rank, receiver's rank or None for all juniors, bytes) in the order of the sequence.

    `stops` are (receiver's rank, bytes) after all of these, `changes` bytes for the ranks that are `watchers`.
    """

    members: int
    frames: list[tuple[int, int | None, bytes]]
    departed: list[int]
    own_tails: dict[int, bytes]  # the answers by rank, the first byte of one kind and the others of another
    stops: list[tuple[int, bytes]] = field(default_factory=list)
    changes: list[bytes] = field(default_factory=list)
    watchers: Container[int] = ()

    @property
    def tickets(self) -> array[int]:
        return array("Q", [10 + 3 * rank for rank in range(self.members)])

    def rank_frame(self, rank: int) -> bytes:
        """A stand-in for a RANK frame: bytes that identify their receiver."""
        if rank in self.departed or not any(gone < rank for gone in self.departed):
            return b""
        return (b"RANK" + rank.to_bytes(2)).ljust(RANK_FRAME_BYTES, b".")

    def expected(self, rank: int) -> bytes:
        """All bytes that `rank` receives."""
        parts = [
            octets
            for sender, receiver, octets in self.frames
            if (receiver is None and sender < rank) or receiver == rank
        ]
        parts += [octets for receiver, octets in self.stops if receiver == rank]
        parts.append(self.rank_frame(rank))
        if rank in self.watchers:
            parts += self.changes
        return b"".join([*parts, self.own_tails.get(rank, b"")])

    def deliveries(self) -> Deliveries:
        """The turn in the form that `dispatch` and the room produce."""
        deliveries = Deliveries()
        for sender, receiver, octets in self.frames:
            if receiver is not None:
                deliveries.directed.setdefault(receiver, []).append((len(deliveries.executes), octets))
                continue
            deliveries.executes += octets
            if deliveries.steps and deliveries.steps[-1][0] == sender:
                deliveries.steps.pop()
            deliveries.steps.append((sender, len(deliveries.executes)))
        for receiver, octets in self.stops:
            deliveries.splice(receiver, octets)
        for seq, octets in enumerate(self.changes, 1):
            deliveries.change(seq, octets)
        deliveries.departed = list(self.departed)
        for rank in range(self.members):
            deliveries.rank_frames += self.rank_frame(rank)
        for rank, tail in self.own_tails.items():
            deliveries.answer(deliveries.refused, self.tickets[rank], tail[:1])
            if tail[1:]:
                deliveries.answer(deliveries.done, self.tickets[rank], tail[1:])
        return deliveries


def joined(deliveries: Deliveries, rank: int, ticket: int, watches: bool = False) -> bytes:
    """The pieces for one member, concatenated."""
    pieces = deliveries.pieces(rank, ticket, watches)
    return b"".join(deliveries.executes[p[0] : p[1]] if isinstance(p, tuple) else p for p in pieces)


@st.composite
def laid_turns(draw: st.DrawFn, max_members: int = 8) -> Laid:
    """Any turn: senders from the most senior down, receivers below them."""
    members = draw(st.integers(1, max_members))
    ranks = st.integers(0, members - 1)
    frames: list[tuple[int, int | None, bytes]] = []
    for number, sender in enumerate(sorted(draw(st.lists(ranks, max_size=8)))):
        receivers = st.none() | st.integers(sender + 1, members - 1) if sender < members - 1 else None
        if receivers is not None:
            size = draw(st.integers(1, 9))
            frames.append((sender, draw(receivers), b"%d" % (number % 10) * size))
    departed = sorted(draw(st.sets(ranks, max_size=3)))
    tails = draw(st.dictionaries(ranks, st.binary(min_size=1, max_size=6), max_size=4))
    stops = draw(st.just([]) | st.lists(st.tuples(ranks, st.sampled_from([b"stop", b"s"])), max_size=4))
    changes = draw(st.just([]) | st.lists(st.sampled_from([b"changed", b"c"]), max_size=3))
    return Laid(members, frames, departed, tails, stops, changes, draw(st.sets(ranks)))
