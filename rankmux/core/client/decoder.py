"""The frame decoder of a client's single stream (PROTOCOL section 2)."""

from __future__ import annotations

from ..wire.layouts import HEAD, LENGTH_BYTES
from ..wire.violations import bad_length
from .events import CommandsReceived, ExecuteReceived, ResultsRouted
from .results import RoutedResult
from .runs import STATUSES, cut_executes, cut_results

__all__ = ["FrameDecoder"]


class FrameDecoder:
    """Cuts one byte stream into frames, however it is chunked: `feed` it, then take the frames in front.

    `max_length` is the largest `length` that a frame may announce; it is judged as soon as its four bytes are there,
    and nothing is stored for what is only announced.
    """

    __slots__ = ("_buffer", "_cursor", "max_length")

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self._buffer = bytearray()
        self._cursor = 0

    @property
    def pending(self) -> int:
        """Bytes held and not taken."""
        return len(self._buffer) - self._cursor

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        if self._cursor:
            del self._buffer[: self._cursor]
            self._cursor = 0
        self._buffer += data

    def next_type(self) -> int | None:
        """The type of the frame in front; None while it is not whole. Raises ProtocolViolation for its length.

        After a violation the stream has no meaning any more: the caller closes, and takes nothing further.
        """
        at = self._cursor + LENGTH_BYTES
        there = len(self._buffer) - at
        if there < 0:
            return None
        length = int.from_bytes(self._buffer[self._cursor : at])
        if not 0 < length <= self.max_length:
            raise bad_length(length, self.max_length)
        return self._buffer[at] if length <= there else None

    def frame(self) -> tuple[int, bytes]:
        """Take the frame in front, which is whole, as type and body."""
        length, type_ = HEAD.unpack_from(self._buffer, self._cursor)
        stop = self._cursor + LENGTH_BYTES + length
        body = bytes(self._buffer[self._cursor + HEAD.size : stop])
        self._cursor = stop
        return type_, body

    def executes(self, rank: int, seq: int) -> CommandsReceived | None:
        """Take the EXECUTEs in front that are in order for a member of `rank` that has seen `seq` last; None: none."""
        run, self._cursor, size = cut_executes(
            self._buffer, self._cursor, self.max_length, rank, seq, ExecuteReceived
        )
        return CommandsReceived(run, size) if run else None

    def results(self) -> tuple[ResultsRouted, list[int], int]:
        """The ROUTEDs in front that belong to one command, how many have each of the final statuses, and their end.

        They are taken by `skip(end)`.
        """
        id_, run, ends, end, size = cut_results(
            self._buffer, self._cursor, self.max_length, RoutedResult, STATUSES
        )
        return ResultsRouted(id_, run, size), ends, end

    def skip(self, end: int) -> None:
        """Take what is in front of `end`, which `results` gave."""
        self._cursor = end
