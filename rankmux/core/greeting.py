"""Parser for HELLO, the first frame of a connection (PROTOCOL section 3.1).

`greeting.pxi` parses the plain HELLO, for the fast path of newcomers (`server.kernel.crowd`).
"""

from __future__ import annotations

from ..errors import ProtocolViolation
from .wire.codes import CLIENT_FRAMES, ErrorCode, FrameType
from .wire.frames import Hello
from .wire.violations import bad_length

__all__ = ["HELLO_MAX_BYTES", "greet"]

HELLO_MAX_BYTES = 4096
"""The longest frame that is taken before HELLO is accepted: a HELLO needs 1,104 bytes at most."""

_HELLO = int(FrameType.HELLO)


def greet(
    data: bytes | bytearray | memoryview, max_length: int
) -> tuple[int, Hello | ProtocolViolation | None]:
    """The HELLO at the front of `data`, or the violation as soon as it can be told, with the bytes that it took.

    None while the frame is not whole. Behind a violation all of `data` is taken.
    """
    size = len(data)
    if size < 4:
        return 0, None
    length = int.from_bytes(data[:4])
    if not 0 < length <= max_length:
        return size, bad_length(length, max_length)
    if size > 4 and data[4] != _HELLO:
        code = ErrorCode.PROTOCOL if data[4] in CLIENT_FRAMES else ErrorCode.UNSUPPORTED
        return size, ProtocolViolation(code, f"the first frame is HELLO (0x01), this one is {data[4]:#04x}")
    if size < 4 + length:
        return 0, None
    try:
        return 4 + length, Hello.decode(bytes(data[5 : 4 + length]))
    except ProtocolViolation as violation:
        return size, violation
