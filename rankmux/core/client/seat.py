"""A client's seat: its rank, its ticket and the room around it, as the server reports them.

It takes WELCOME, RANK, YIELDED, BATON, CHANGED and EXECUTE, and checks them (PROTOCOL sections 2, 4, 5, 8 and 10):
ranks only move up, but for a yield; seqs only grow. It knows no bytes, no connection and no clock.
"""

from __future__ import annotations

from ..wire import frames
from ..wire.codes import NO_RANK, Cause, Change, ExecuteFlag
from ..wire.fields import violation
from ..wire.frames import Baton, Changed, Execute, Rank, Welcome
from .events import ExecuteReceived, ExecuteRejected, LineChanged, Promoted

__all__ = ["ClientSeat"]


class ClientSeat:
    """A member's numbers, all None before WELCOME. `rank` is None again once the seat is given up.

    An observer has neither rank nor ticket. `baton` is the note that came with rank 0, or that this client has written
    since; None without rank 0, and where there is none. `member_count` is the server's latest; it reports joins only
    in answers to WHO, and to those that watch. `seq` is the latest place in the server's order (section 1) that this
    client has seen, `stream_seq` that of the last EXECUTE, RANK or YIELDED, whose seqs grow. Methods that take a frame
    raise ProtocolViolation where a server that keeps to the protocol would not send it.
    """

    __slots__ = (
        "_changed_seq",
        "baton",
        "capacity",
        "instance",
        "member_count",
        "rank",
        "seq",
        "stream_seq",
        "ticket",
    )

    def __init__(self) -> None:
        self.rank: int | None = None
        self.ticket: int | None = None
        self.member_count: int | None = None
        self.capacity: int | None = None
        self.instance: int | None = None
        self.seq: int | None = None
        self.baton: Baton | None = None
        self._changed_seq = 0
        self.stream_seq = 0

    def take(self, frame: Welcome) -> None:
        """Take the seat that WELCOME grants (section 3.2)."""
        if (
            not frame.rank < frame.members
        ):  # which may be more than there are seats, if these have become fewer
            raise violation(f"WELCOME says rank {frame.rank} of {frame.members}")
        self.instance, self.ticket, self.rank = frame.instance, frame.ticket, frame.rank
        self.member_count, self.capacity = frame.members, frame.capacity
        self.seq = self.stream_seq = self._changed_seq = frame.seq

    def look_on(self, frame: Welcome) -> None:
        """Take WELCOME as an observer (section 8)."""
        if frame.ticket != 0 or frame.rank != NO_RANK:
            raise violation(f"WELCOME seats an observer: ticket {frame.ticket}, rank {frame.rank}")
        self.instance, self.member_count, self.capacity = frame.instance, frame.members, frame.capacity
        self.seq = self.stream_seq = self._changed_seq = frame.seq

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
        before, self.rank, self.member_count = self.rank, frame.rank, frame.members
        return Promoted(frame.seq, before, frame.rank, frame.members, Cause(frame.cause))

    def step_back(self, frame: frames.Yielded) -> bool:
        """Take the last place, as YIELDED gives it (section 10); False without a rank."""
        self._advance(frame.seq, "YIELDED")
        if self.rank is None:
            return False
        if not frame.rank < frame.members or frame.ticket <= (self.ticket or 0):
            raise violation(f"YIELDED says ticket {frame.ticket}, rank {frame.rank} of {frame.members}")
        self.ticket, self.rank, self.member_count, self.baton = frame.ticket, frame.rank, frame.members, None
        return True

    def note(self, baton: Baton) -> None:
        """The note of BATON, or one that was written here; an empty one is none (section 10)."""
        if self.rank == 0:
            self.baton = baton if baton.payload else None

    def change(self, frame: Changed) -> LineChanged:
        """An event of the line (section 8)."""
        if frame.seq <= self._changed_seq:
            raise violation(f"CHANGED came with seq {frame.seq} behind seq {self._changed_seq}")
        self._changed_seq = frame.seq
        self.observe(frame.seq)
        self.member_count = frame.members
        return LineChanged(frame.seq, Change(frame.what), frame.ticket, frame.rank, frame.members, frame.name)

    def observe(self, seq: int) -> None:
        """Note a seq that came with an answer: these may come in any order."""
        self.seq = max(self.seq or 0, seq)

    def give_up(self) -> None:
        """The seat is gone: after LEAVE, or with the connection."""
        self.rank = self.baton = None

    def _advance(self, seq: int, frame: str) -> None:
        if seq <= self.stream_seq:
            raise violation(f"{frame} came with seq {seq} behind seq {self.stream_seq}")
        self.advance(seq)

    def advance(self, seq: int) -> None:
        """Note the seq of a frame of the stream, which is later than the last one."""
        self.stream_seq = seq
        self.observe(seq)
