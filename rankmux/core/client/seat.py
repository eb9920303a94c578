"""Where a client stands in the line, as its server tells it: WELCOME, RANK, and the commands that come down.

It checks what a server may say of it (PROTOCOL sections 2, 4 and 5): ranks that only move up, seqs that only grow. It
knows no bytes, no connection and no clock.
"""

from __future__ import annotations

from ..wire.codes import Cause, ExecuteFlag
from ..wire.fields import violation
from ..wire.frames import Execute, Rank, Welcome
from .events import ExecuteReceived, ExecuteRejected, Promoted, Welcomed

__all__ = ["Standing"]


class Standing:
    """A member's numbers: None before WELCOME. `rank` is None again once there is no seat any more.

    Each method takes one frame, and raises ProtocolViolation where a server that keeps the rules would not send it.
    """

    def __init__(self) -> None:
        self.rank: int | None = None
        self.ticket: int | None = None
        self.members: int | None = None
        self.capacity: int | None = None
        self.instance: int | None = None
        self.seq: int | None = None
        self.max_payload: int | None = None
        self.ping_ms: int | None = None
        self._stream_seq = 0  # the seq of the last EXECUTE or RANK: these come in growing order

    def _welcomed(self, frame: Welcome) -> Welcomed:
        if not frame.rank < frame.members <= frame.capacity:
            raise violation(f"WELCOME says rank {frame.rank} of {frame.members} in {frame.capacity} seats")
        self.instance, self.ticket, self.rank = frame.instance, frame.ticket, frame.rank
        self.members, self.capacity = frame.members, frame.capacity
        self.max_payload, self.ping_ms = frame.max_payload, frame.ping_ms
        self.seq = self._stream_seq = frame.seq
        return Welcomed(*frame[:-1])

    def _commanded(self, frame: Execute) -> ExecuteReceived | ExecuteRejected | None:
        """The command, to run or not; None while we hold no rank: nothing could be answered, so nothing is run."""
        self._in_order(frame.seq, "EXECUTE")
        if self.rank is None:
            return None
        wanted = bool(frame.flags & ExecuteFlag.RESULT_WANTED)
        if frame.sender_rank < self.rank:
            return ExecuteReceived(
                frame.seq, frame.sender_rank, self.rank, wanted, frame.ttl_ms, frame.payload
            )
        return ExecuteRejected(frame.seq, frame.sender_rank, self.rank, wanted, frame.payload)

    def _moved(self, frame: Rank) -> Promoted | None:
        """The promotion; None while we hold no rank."""
        self._in_order(frame.seq, "RANK")
        if self.rank is None:
            return None
        if not frame.rank < self.rank or not frame.rank < frame.members:
            raise violation(f"RANK says {frame.rank} of {frame.members} to a member of rank {self.rank}")
        before, self.rank, self.members = self.rank, frame.rank, frame.members
        return Promoted(frame.seq, before, frame.rank, frame.members, Cause(frame.cause))

    def _saw(self, seq: int) -> None:
        self.seq = max(self.seq or 0, seq)

    def _in_order(self, seq: int, frame: str) -> None:
        if seq <= self._stream_seq:
            raise violation(f"{frame} came with seq {seq} behind seq {self._stream_seq}")
        self._stream_seq = seq
        self._saw(seq)
