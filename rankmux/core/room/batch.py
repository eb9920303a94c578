"""The batch: commands and results that a turn took from its members, in order of arrival.

`batch.pxi` is the compiled twin.
"""

from __future__ import annotations

from struct import Struct

from ..._twin import twin
from ...errors import ProtocolViolation
from ..wire.codes import CLIENT_STATUSES, FRAME_OVERHEAD, FrameType
from ..wire.frames import Frame, Leave, Pong
from ..wire.violations import bad_length, member_frame
from .encoding import check_run, encode, runs

__all__ = ["Batch", "Event"]

# Plain numbers: to look up a member of an enumeration costs more than to compare it.
_COMMAND_TYPE, _RESULT_TYPE = int(FrameType.COMMAND), int(FrameType.RESULT)

_COMMAND = Struct("!IBIBI")
_RESULT = Struct("!QB")

Event = Frame | ProtocolViolation | int
"""Input of a member beside commands and results: a frame, a violation, an errno (0: end of stream)."""


@twin
class Batch:
    """The commands and results that a turn took from its members, in the order in which they arrived."""

    __slots__ = ("_buffer", "commands", "max_payload", "results")

    def __init__(self, max_payload: int) -> None:
        self.max_payload = max_payload
        self.commands: list[tuple[int, int, int, int, int, int, bytes]] = []
        self.results: list[tuple[int, int, int, bytes]] = []
        self._buffer = memoryview(bytearray())

    def __len__(self) -> int:
        return len(self.commands) + len(self.results)

    def entries(
        self,
    ) -> tuple[list[tuple[int, int, int, int, int, int, bytes]], list[tuple[int, int, int, bytes]]]:
        """Commands: (ticket, id, target, arg, flags, ttl_ms, payload); results: (ticket, seq, status, payload)."""
        return self.commands, self.results

    def clear(self) -> None:
        """Make room for the next turn."""
        self.commands.clear()
        self.results.clear()

    def encode(self) -> bytes:
        """The batch as bytes (`encoding`); `decode` of an empty batch gives the same entries in the same order."""
        return encode(*self.entries())

    def decode(self, data: bytes) -> None:
        """Enter what `encode` wrote. Raises SnapshotError on anything else; entries before it have been entered."""
        for ticket, frames in runs(data):
            check_run(frames, *self.feed(ticket, frames))

    def buffer(self, size: int) -> memoryview:
        """`size` bytes to read into, the same ones each time."""
        if len(self._buffer) != size:
            self._buffer = memoryview(bytearray(size))
        return self._buffer

    def feed(self, ticket: int, data: bytes | bytearray | memoryview) -> tuple[int, list[Event]]:
        """Take the whole frames off the front of `data`, which the member `ticket` sent.

        Returns how many bytes that took and what else than commands and results was there. Behind a LEAVE or a breach
        nothing counts any more: all of `data` is taken then, and nothing more may be fed for that ticket.
        """
        events: list[Event] = []
        max_length = self.max_payload + FRAME_OVERHEAD
        cursor, end = 0, len(data)
        while end - cursor >= 4:
            length = int.from_bytes(data[cursor : cursor + 4])
            if not 0 < length <= max_length:
                events.append(bad_length(length, max_length))
                return end, events
            stop = cursor + 4 + length
            if stop > end:
                break
            type_ = data[cursor + 4]
            body, cursor = cursor + 5, stop
            if type_ == _COMMAND_TYPE and length > _COMMAND.size:
                id_, target, arg, flags, ttl_ms = _COMMAND.unpack_from(data, body)
                if target <= 3 and flags <= 3 and (not arg or target == 1):
                    payload = bytes(data[body + _COMMAND.size : stop])
                    self.commands.append((ticket, id_, target, arg, flags, ttl_ms, payload))
                    continue
            elif type_ == _RESULT_TYPE and _RESULT.size < length <= self.max_payload + 1 + _RESULT.size:
                seq, status = _RESULT.unpack_from(data, body)
                if status in CLIENT_STATUSES:
                    self.results.append((ticket, seq, status, bytes(data[body + _RESULT.size : stop])))
                    continue
            try:
                frame = member_frame(type_, bytes(data[body:stop]), self.max_payload)
            except ProtocolViolation as breach:
                events.append(breach)
                return end, events
            if isinstance(frame, Pong):
                continue
            events.append(frame)
            if isinstance(frame, Leave):
                return end, events
        return cursor, events
