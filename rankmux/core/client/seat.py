"""A client's seat: its rank, its ticket and the room around it, as the server reports them.

It takes WELCOME, RANK and EXECUTE, and checks them (PROTOCOL sections 2, 4 and 5): ranks only move up, seqs only
grow. It knows no bytes, no connection and no clock.
"""

from __future__ import annotations

from ..wire.codes import Cause, ExecuteFlag
from ..wire.fields import violation
from ..wire.frames import Execute, Rank, Welcome
from .events import ExecuteReceived, ExecuteRejected, Promoted

__all__ = ["ClientSeat"]


class ClientSeat:
    """A member's numbers, all None before WELCOME. `rank` is None again once the seat is given up.

    `members` is the server's latest count; it reports joins only in answers to WHO. `seq` is the latest place in the
    server's order (section 1) that this client has seen. Methods that take a frame raise ProtocolViolation where a
    server that keeps to the protocol would not send it.
    """

    __slots__ = ("_stream_seq", "capacity", "instance", "members", "rank", "seq", "ticket")

    def __init__(self) -> None:
        self.rank: int | None = None
        self.ticket: int | None = None
        self.members: int | None = None
        self.capacity: int | None = None
        self.instance: int | None = None
        self.seq: int | None = None
        self._stream_seq = 0  # the seq of the last EXECUTE or RANK; theirs must grow

    def take(self, frame: Welcome) -> None:
        """Take the seat that WELCOME grants (section 3.2)."""
        if not frame.rank < frame.members <= frame.capacity:
            raise violation(f"WELCOME says rank {frame.rank} of {frame.members} in {frame.capacity} seats")
        self.instance, self.ticket, self.rank = frame.instance, frame.ticket, frame.rank
        self.members, self.capacity = frame.members, frame.capacity
        self.seq = self._stream_seq = frame.seq

    def execute(self, frame: Execute) -> ExecuteReceived | ExecuteRejected | None:
        """The command, to run or to reject; None without a rank: it could not be answered, so it is not run."""
        self._advance(frame.seq, "EXECUTE")
        if self.rank is None:
            return None
        wanted = bool(frame.flags & ExecuteFlag.RESULT_WANTED)
        if frame.sender_rank < self.rank:
            return ExecuteReceived(
                frame.seq, frame.sender_rank, self.rank, wanted, frame.ttl_ms, frame.payload
            )
        return ExecuteRejected(frame.seq, frame.sender_rank, self.rank, wanted, frame.payload)

    def move(self, frame: Rank) -> Promoted | None:
        """Move up to the rank that RANK gives (section 4); None without a rank."""
        self._advance(frame.seq, "RANK")
        if self.rank is None:
            return None
        if not frame.rank < self.rank or not frame.rank < frame.members:
            raise violation(f"RANK says {frame.rank} of {frame.members} to a member of rank {self.rank}")
        before, self.rank, self.members = self.rank, frame.rank, frame.members
        return Promoted(frame.seq, before, frame.rank, frame.members, Cause(frame.cause))

    def observe(self, seq: int) -> None:
        """Note a seq that came with an answer: these may come in any order."""
        self.seq = max(self.seq or 0, seq)

    def give_up(self) -> None:
        """The seat is gone: after LEAVE, or with the connection."""
        self.rank = None

    def _advance(self, seq: int, frame: str) -> None:
        if seq <= self._stream_seq:
            raise violation(f"{frame} came with seq {seq} behind seq {self._stream_seq}")
        self._stream_seq = seq
        self.observe(seq)
