"""Deliveries: the frames that one turn owes its members, without a copy per receiver (PROTOCOL section 4).

The EXECUTE frames of all ALL commands lie in one buffer, the most senior sender's first. The share of rank k is
a prefix: up to the first frame whose sender is not senior to k. Frames for one receiver alone are spliced in at their
place in the sequence; its RANK and its answers follow behind. Knows neither connections nor descriptors.
"""

from __future__ import annotations

from bisect import bisect_left

from ..wire.layouts import RANK_FRAME

__all__ = ["RANK_FRAME_BYTES", "Deliveries", "Piece"]

RANK_FRAME_BYTES = RANK_FRAME.size

Piece = bytes | bytearray | tuple[int, int]
"""Bytes for one receiver alone, which nobody changes any more, or (start, end) in the buffer that all share."""


class Deliveries:
    """Ranks are those at the start of the turn, tickets name members.

    `executes`     the shared buffer
    `steps`        (rank of a sender, where its frames end in `executes`), ranks rising
    `directed`     by the rank of its receiver, (where to splice it into `executes`, frame) in the order of the sequence
    `departed`     the ranks that were vacated, rising
    `rank_frames`  RANK_FRAME_BYTES for each survivor behind the first departed, in the order of their ranks
    `baton`        the rank of the member that has got rank 0 and its BATON frame, or None
    `accepted` … `pongs`  the answers by ticket, one buffer a kind because the kinds have an order (section 4)
    `answers`      all kinds in that order
    `changes`      CHANGED frames at the end of `executes`, for those who watch: (seq, where it begins), seqs rising
    `observed`     the answers to observers, by the numbers that name them
    """

    __slots__ = (
        "accepted",
        "answers",
        "baton",
        "changes",
        "departed",
        "directed",
        "done",
        "executes",
        "executions",
        "members",
        "observed",
        "pongs",
        "rank_frames",
        "refused",
        "routed",
        "steps",
        "yielded",
    )

    def __init__(self) -> None:
        self.executes = bytearray()
        self.steps: list[tuple[int, int]] = []
        self.directed: dict[int, list[tuple[int, bytes]]] = {}
        self.departed: list[int] = []
        self.rank_frames = bytearray()
        self.accepted: dict[int, bytearray] = {}
        self.refused: dict[int, bytearray] = {}
        self.routed: dict[int, bytearray] = {}
        self.done: dict[int, bytearray] = {}
        self.yielded: dict[int, bytearray] = {}
        self.members: dict[int, bytearray] = {}
        self.pongs: dict[int, bytearray] = {}
        self.answers = (
            self.accepted,
            self.refused,
            self.routed,
            self.done,
            self.yielded,
            self.members,
            self.pongs,
        )
        self.baton: tuple[int, bytes] | None = None
        self.changes: list[tuple[int, int]] = []
        self.observed: dict[int, bytearray] = {}
        self.executions = 0

    def answer(self, kind: dict[int, bytearray], ticket: int, frame: bytes) -> None:
        """Put `frame` behind what `ticket` gets of that kind."""
        buffer = kind.get(ticket)
        if buffer is None:
            kind[ticket] = bytearray(frame)
        else:
            buffer += frame

    def splice(self, rank: int, frame: bytes) -> None:
        """Put `frame` behind all EXECUTEs of the member at `rank`: after the last command of the turn only."""
        self.directed.setdefault(rank, []).append((self.prefix(rank), frame))

    def prefix(self, rank: int) -> int:
        """How much of `executes` is for `rank`."""
        step = bisect_left(self.steps, (rank, 0))
        return self.steps[step - 1][1] if step else 0

    def rank_frame(self, rank: int) -> bytes:
        """The RANK frame of the member that was at `rank`; empty when its rank did not change or it departed."""
        before = bisect_left(self.departed, rank)
        if not before or (before < len(self.departed) and self.departed[before] == rank):
            return b""
        at = (rank - before - self.departed[0]) * RANK_FRAME_BYTES
        return bytes(self.rank_frames[at : at + RANK_FRAME_BYTES])

    def change(self, seq: int, frame: bytes) -> None:
        """Put the CHANGED `frame` behind the others, for those who watch: after the last command of the turn only."""
        self.changes.append((seq, len(self.executes)))
        self.executes += frame

    def changes_after(self, seq: int) -> tuple[int, int]:
        """Where in `executes` the CHANGED frames with a greater seq lie; an empty range if there are none."""
        at = bisect_left(self.changes, (seq + 1, 0))
        end = len(self.executes)
        return (self.changes[at][1] if at < len(self.changes) else end, end)

    def pieces(self, rank: int, ticket: int, watches: bool = False) -> list[Piece]:
        """All that the member with `ticket`, at `rank`, gets in this turn, in order; nothing but RANK is copied."""
        end = self.prefix(rank)
        pieces: list[Piece] = []
        start = 0
        for position, execute in self.directed.get(rank, ()):
            if start < position:
                pieces.append((start, position))
                start = position
            pieces.append(execute)
        if start < end:
            pieces.append((start, end))
        if frame := self.rank_frame(rank):
            pieces.append(frame)
        if self.baton is not None and self.baton[0] == rank:
            pieces.append(self.baton[1])
        if watches and self.changes:
            pieces.append(self.changes_after(0))
        pieces += [kind[ticket] for kind in self.answers if ticket in kind]
        return pieces
