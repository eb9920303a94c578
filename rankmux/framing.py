"""Which twin of the hot loops runs, and the frame decoder for a single stream (PROTOCOL section 2).

`RANKMUX_EXTENSION` chooses at import: `0` the pure twin, `1` the extension or an ImportError, `auto` (the default) the
extension where it was built. Each twin is four modules, and only all of one twin work together; those whose names end
in `_py` define what both do. No I/O here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .errors import ConfigError, ProtocolViolation

__all__ = [
    "TWIN",
    "Batch",
    "Event",
    "FrameDecoder",
    "Ledger",
    "Observe",
    "Ring",
    "cut",
    "dispatch",
    "flush",
    "rank_frames",
    "receive",
]


def _choose() -> str:
    mode = os.environ.get("RANKMUX_EXTENSION", "auto")
    if mode not in ("0", "1", "auto"):
        raise ConfigError("RANKMUX_EXTENSION", mode, "0 (never), 1 (or fail) or auto is expected")
    if mode == "0":
        return "pure"
    try:
        from . import _dispatch, _flush, _framing, _ledger  # noqa: F401
    except ImportError:
        if mode == "1":
            raise
        return "pure"
    return "extension"


TWIN = _choose()
"""`"extension"` or `"pure"`."""

if TYPE_CHECKING or TWIN == "pure":
    from ._dispatch_py import Observe, dispatch, rank_frames
    from ._flush_py import Ring, flush
    from ._framing_py import Batch, Event, cut, receive
    from ._ledger_py import Ledger
else:
    from ._dispatch import Observe, dispatch, rank_frames
    from ._flush import Ring, flush
    from ._framing import Batch, Event, cut, receive
    from ._ledger import Ledger


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
