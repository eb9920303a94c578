"""The frame decoder for a single stream (PROTOCOL section 2)."""

from __future__ import annotations

from ...errors import ProtocolViolation
from ..wire.cutting import cut

__all__ = ["FrameDecoder"]


class FrameDecoder:
    """Cuts one byte stream into frames, however it is chunked.

    `max_length` is the largest `length` that a frame may announce; it is judged as soon as its four bytes are there,
    and nothing is stored for what is only announced.
    """

    __slots__ = ("_buffer", "max_length")

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes held of a frame that is not whole yet."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> tuple[list[tuple[int, bytes]], ProtocolViolation | None]:
        """Take `data`; return the frames that are whole now, as (type, body), and what broke the rules behind them.

        After a violation the stream has no meaning any more: the caller closes, and feeds nothing further.
        """
        buffer = self._buffer
        buffer += data
        if len(buffer) >= 4 and len(buffer) - 4 < int.from_bytes(buffer[:4]) <= self.max_length:
            return [], None  # a long frame that drips in costs nothing but its bytes
        frames, consumed, breach = cut(buffer, self.max_length)
        del buffer[:consumed]
        return frames, breach
