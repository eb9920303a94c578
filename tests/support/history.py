"""Checks of received frames: every rule that is visible to one receiver alone, or across all receivers.

Shares no code with the room. A `History` is given each command sent by its member and each frame received, in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rankmux.codes import SERVER_FRAMES, CommandFlag, Status
from rankmux.wire import Accepted, Command, Done, Execute, Frame, Rank, Refused, Routed, decode


def split(stream: bytes) -> tuple[list[Frame], bytes]:
    """The complete server frames at the start of `stream`, and the rest. Each must equal its own re-encoding."""
    frames = []
    while len(stream) >= 4 and len(stream) >= 4 + int.from_bytes(stream[:4]):
        end = 4 + int.from_bytes(stream[:4])
        frame = decode(stream[4], stream[5:end], SERVER_FRAMES)
        assert frame.encode() == stream[:end]
        frames.append(frame)
        stream = stream[end:]
    return frames, stream


def parse(stream: bytes) -> list[Frame]:
    """The server frames in `stream`, which ends with a whole one."""
    frames, rest = split(stream)
    assert not rest, "the last frame is torn"
    return frames


class History:
    """One member's view of its connection. If it reuses an id before DONE, results cannot be told apart."""

    def __init__(self, ticket: int, rank: int, *, unique_ids: bool = True) -> None:
        self.ticket = ticket
        self.rank = rank
        self.unique_ids = unique_ids
        self.ranked_at = 0
        self.executed: dict[int, Execute] = {}
        self.accepted: dict[int, Accepted] = {}  # by seq
        self.wants: dict[int, bool] = {}  # by id of an unanswered command: results wanted
        self.open: dict[int, dict[int, int]] = {}  # by id: the final status of each executor
        self.counts: Counter[str] = Counter()

    def sent(self, command: Command) -> None:
        """The member sent `command`, without QUIET, under an id that no other unanswered command has."""
        assert not command.flags & CommandFlag.QUIET
        assert command.id not in self.wants
        self.wants[command.id] = bool(command.flags & CommandFlag.RESULTS)

    def got(self, frames: Iterable[Frame]) -> None:
        """The member received `frames`."""
        for frame in frames:
            self.counts[type(frame).__name__] += 1
            match frame:
                case Execute():
                    self._execute(frame)
                case Rank():
                    assert frame.rank < self.rank, "a rank only ever falls"
                    assert frame.rank < frame.members
                    assert frame.seq > self.ranked_at
                    self.rank, self.ranked_at = frame.rank, frame.seq
                case Accepted():
                    self._accepted(frame)
                case Refused():
                    self.wants.pop(frame.id, None)
                case Routed() if self.unique_ids:
                    self._routed(frame)
                case Done() if self.unique_ids:
                    self._done(frame)

    def _execute(self, frame: Execute) -> None:
        assert frame.sender_rank < self.rank, "a command from below"
        assert frame.seq > max(self.executed, default=0), "not in growing seq"
        assert frame.seq > self.ranked_at, "older than the ranks that this member knows of"
        self.executed[frame.seq] = frame

    def _accepted(self, frame: Accepted) -> None:
        if not frame.executors:  # a baton
            assert (frame.rejected, frame.absent) == (0, 0)
            return
        assert frame.seq > max(self.accepted, default=0)
        self.accepted[frame.seq] = frame
        if self.wants.pop(frame.id, False):
            assert frame.id not in self.open, "an id that still waits was taken twice"
            self.open[frame.id] = {}

    def _routed(self, frame: Routed) -> None:
        ended = self.open.setdefault(frame.id, {})  # with QUIET there was no ACCEPTED before
        assert frame.ticket > self.ticket, "answered by a senior"
        assert frame.ticket not in ended, "something behind an executor's end"
        if frame.status != Status.PART:
            ended[frame.ticket] = frame.status

    def _done(self, frame: Done) -> None:
        counts = Counter(self.open.pop(frame.id).values())
        assert list(frame[1:]) == [counts[status] for status in range(6)], "DONE is not what was routed"


def check_together(histories: Iterable[History]) -> None:
    """Assert that no frame was lost, duplicated or altered, for members and senders that received all their output."""
    histories = list(histories)
    seen: dict[int, Execute] = {}
    receivers: Counter[int] = Counter()
    for history in histories:
        for seq, frame in history.executed.items():
            assert seen.setdefault(seq, frame) == frame, "not the same bytes for every receiver"
            receivers[seq] += 1
    for history in histories:
        for seq, frame in history.accepted.items():
            assert receivers[seq] == frame.executors, f"command {seq} did not reach all its executors"
