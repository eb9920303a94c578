"""Error texts for protocol violations by members, for both twins.

The hot loops judge by numbers, and hand over here whatever is odd.
"""

from __future__ import annotations

from ...errors import ProtocolViolation
from .codes import CLIENT_FRAMES, ErrorCode, FrameType
from .frames import Frame, Result, decode

__all__ = ["bad_length", "member_frame", "observer_frame"]

_TLS_RECORDS = range(0x14, 0x18)
_TLS_MAJOR = 3
_OBSERVERS_MAY = (FrameType.WHO, FrameType.PING, FrameType.PONG, FrameType.LEAVE)


def bad_length(length: int, max_length: int) -> ProtocolViolation:
    """The breach of a frame that announces `length` (section 3.3)."""
    if not length:
        return ProtocolViolation(ErrorCode.PROTOCOL, "a frame's length is 0, expected at least 1")
    text = f"a frame's length is {length}{_guess(length)}, at most {max_length} is allowed"
    return ProtocolViolation(ErrorCode.TOO_BIG, text)


def _guess(length: int) -> str:
    """The protocol that the four bytes of a length may be the beginning of."""
    begin = length.to_bytes(4)
    if begin[0] in _TLS_RECORDS and begin[1] == _TLS_MAJOR:
        return " (perhaps it is TLS)"
    if begin.isascii() and (text := begin.decode()).isprintable():
        return f" (it reads {text!r}, perhaps of another protocol)"
    return ""


def member_frame(type_: int, body: bytes, max_payload: int) -> Frame:
    """The frame that a member sent; raises the breach (section 3.3). The hot loops hand over here whatever is odd."""
    if type_ == FrameType.HELLO:
        raise ProtocolViolation(ErrorCode.PROTOCOL, "a second HELLO: this connection holds a seat already")
    frame = decode(type_, body, CLIENT_FRAMES)
    if isinstance(frame, Result) and len(frame.payload) > max_payload:
        text = f"the payload of a RESULT is {len(frame.payload)} bytes, at most {max_payload} are allowed"
        raise ProtocolViolation(ErrorCode.TOO_BIG, text)
    return frame


def observer_frame(type_: int, body: bytes, max_payload: int) -> Frame:
    """The frame that an observer sent; raises the breach (section 8)."""
    if type_ not in _OBSERVERS_MAY:
        text = f"an observer may send WHO, PING, PONG and LEAVE, this frame is of type {type_:#04x}"
        raise ProtocolViolation(ErrorCode.PROTOCOL, text)
    return member_frame(type_, body, max_payload)
