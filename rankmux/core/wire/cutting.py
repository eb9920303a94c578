"""The cut of a byte stream into frames (PROTOCOL section 2). `cutting.pxi` is its compiled twin."""

from __future__ import annotations

from ..._twin import twin
from ...errors import ProtocolViolation
from .layouts import HEAD, LENGTH_BYTES
from .violations import bad_length

__all__ = ["cut"]


@twin
def cut(
    data: bytes | bytearray, max_length: int
) -> tuple[list[tuple[int, bytes]], int, ProtocolViolation | None]:
    """Cut the whole frames off the front of `data` (section 2).

    Returns the frames as (type, body), how many bytes they took, and the breach of the frame that begins there, if
    its length breaks the rules.
    """
    frames: list[tuple[int, bytes]] = []
    cursor, end = 0, len(data)
    while end - cursor >= LENGTH_BYTES:
        length = int.from_bytes(data[cursor : cursor + LENGTH_BYTES])
        if not 0 < length <= max_length:
            return frames, cursor, bad_length(length, max_length)
        if end - cursor - LENGTH_BYTES < length:
            break
        stop = cursor + LENGTH_BYTES + length
        frames.append((data[cursor + LENGTH_BYTES], bytes(data[cursor + HEAD.size : stop])))
        cursor = stop
    return frames, cursor, None
