"""Cutting a byte stream into frames (PROTOCOL section 2). `cutting.pxi` is the compiled twin."""

from __future__ import annotations

from ..._twin import twin
from ...errors import ProtocolViolation
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
    while end - cursor >= 4:
        length = int.from_bytes(data[cursor : cursor + 4])
        if not 0 < length <= max_length:
            return frames, cursor, bad_length(length, max_length)
        if end - cursor - 4 < length:
            break
        frames.append((data[cursor + 4], bytes(data[cursor + 5 : cursor + 4 + length])))
        cursor += 4 + length
    return frames, cursor, None
