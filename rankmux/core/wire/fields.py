"""Helpers to build and parse frames, shared by both directions."""

from __future__ import annotations

from struct import Struct
from typing import Protocol

from ...errors import ProtocolViolation
from .codes import ErrorCode
from .layouts import HEAD, TYPE_BYTES

__all__ = ["Frame", "at_least", "exact", "frame", "text", "violation"]


class Frame(Protocol):
    """The interface of all frame classes."""

    def encode(self) -> bytes:
        """The whole frame: length, type, body."""


def frame(type_: int, *parts: bytes | bytearray) -> bytes:
    """The whole frame: its length, its type, its body."""
    body = b"".join(parts)
    return HEAD.pack(TYPE_BYTES + len(body), type_) + body


def violation(text: str, code: ErrorCode = ErrorCode.PROTOCOL) -> ProtocolViolation:
    """The breach, with the code that an ERROR would carry."""
    return ProtocolViolation(code, text)


def exact(body: bytes, layout: Struct, name: str) -> tuple[int, ...]:
    """The fields of a body that is as long as `layout`."""
    if len(body) != layout.size:
        raise violation(f"a {name} body is {layout.size} bytes, this one {len(body)}")
    return layout.unpack(body)


def at_least(body: bytes, layout: Struct, name: str) -> tuple[int, ...]:
    """The fields at the front of a body that may be longer than `layout`."""
    if len(body) < layout.size:
        raise violation(f"a {name} body is at least {layout.size} bytes, this one {len(body)}")
    return layout.unpack_from(body)


def text(body: bytes, name: str) -> str:
    """UTF-8 as text."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise violation(f"the text of {name} is not UTF-8") from None
