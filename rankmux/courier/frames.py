"""Frames between a server and its courier: a length, a kind, a body.

Both ends are ours and of one version, so a frame that does not fit is a bug of ours, or memory that went wrong.
"""

from __future__ import annotations

import struct
from enum import IntEnum

__all__ = [
    "FRAME_MAX_BYTES",
    "Frame",
    "FrameDecoder",
    "FrameError",
    "Kind",
    "Position",
    "pack_frame",
    "unpack_read",
    "unpack_seq",
]

FRAME_MAX_BYTES = 1 << 30
"""No entry and no snapshot comes near to it: a length above is noise."""

Frame = tuple["Kind", bytes]


class Kind(IntEnum):
    """What frames say, and what is in them.

    To the courier: SETTINGS (`CourierSettings`), OPEN (a `Position`), APPEND and FIRST (an entry), STORE (u64, a
    snapshot). From it: OPENED (a `Position`, then the
    snapshot, or the entry that was read last), READ (u64, u64: when it was stored, u64: the last
    one, an entry), STORED (u64), FAILED (a text), TROUBLE (a text), REACHED (where: there is none any more), ALIVE
    (nothing), LACKING (nothing: the log begins behind the newest snapshot).
    """

    SETTINGS = 1
    OPEN = 2
    APPEND = 3
    FIRST = 4
    STORE = 5
    OPENED = 16
    READ = 17
    FAILED = 18
    TROUBLE = 19
    REACHED = 20
    ALIVE = 21
    STORED = 22
    LACKING = 23


# To look up a member of an enumeration by its value costs more than in a dictionary.
_KINDS = {int(kind): kind for kind in Kind}


class FrameError(ValueError):
    """What came is no frame."""


_HEAD = struct.Struct("<IB")
_SEQ = struct.Struct("<Q")
_POSITION = struct.Struct("<QIQQH")
_READ = struct.Struct("<QQQ")


def pack_frame(kind: Kind, *parts: bytes | int) -> bytes:
    """One frame; an int is written as u64."""
    body = b"".join([_SEQ.pack(part) if isinstance(part, int) else part for part in parts])
    return _HEAD.pack(len(body), kind) + body


class Position:
    """What OPEN and OPENED say of a log: its name, the `last` entry, the largest one, and the snapshot's entry.

    `at_ms`: the time by the log's clock.
    """

    __slots__ = ("at_ms", "created", "entry_max", "last", "snapshot_seq")

    def __init__(
        self, created: str, last: int, entry_max: int = 0, snapshot_seq: int = 0, at_ms: int = 0
    ) -> None:
        self.created = created
        self.at_ms = at_ms
        self.last = last
        self.entry_max = entry_max
        self.snapshot_seq = snapshot_seq

    def pack(self) -> bytes:
        """As bytes, for `unpack`."""
        name = self.created.encode()
        return _POSITION.pack(self.last, self.entry_max, self.snapshot_seq, self.at_ms, len(name)) + name

    @classmethod
    def unpack(cls, body: bytes) -> tuple[Position, bytes]:
        """The position that a body begins with, and the rest of it."""
        last, entry_max, snapshot_seq, at_ms, size = _POSITION.unpack_from(body)
        end = _POSITION.size + size
        name = body[_POSITION.size : end].decode()
        return cls(name, last, entry_max, snapshot_seq, at_ms), body[end:]


class FrameDecoder:
    """Takes bytes as they come, gives the frames in them. `rest` are the bytes that were not given yet."""

    def __init__(self) -> None:
        self.rest = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Take bytes."""
        self.rest += data

    @property
    def has_frame(self) -> bool:
        """Whether the next frame is here whole."""
        left = len(self.rest)
        return left >= _HEAD.size and left >= _HEAD.size + _HEAD.unpack_from(self.rest)[0]

    def frames(self, most: int | None = None) -> list[Frame]:
        """The frames that are here whole, at most so many. Raises FrameError, and loses those before the wrong one."""
        found: list[Frame] = []
        at, end = 0, len(self.rest)
        with memoryview(self.rest) as data:
            while len(found) != most and end - at >= _HEAD.size:
                size, number = _HEAD.unpack_from(data, at)
                if size > FRAME_MAX_BYTES:
                    raise FrameError(f"a frame of {size} bytes")
                begin = at + _HEAD.size
                if begin + size > end:
                    break
                kind = _KINDS.get(number)
                if kind is None:
                    raise FrameError(f"no frame has the kind {number}")
                at = begin + size
                found.append((kind, bytes(data[begin:at])))
        del self.rest[:at]
        return found


def unpack_read(body: bytes) -> tuple[int, int, int, bytes]:
    """What READ says: the sequence number, when it was stored in ms of the log's clock, the last entry, the entry."""
    seq, stored_ms, last = _READ.unpack_from(body)
    return seq, stored_ms, last, body[_READ.size :]


def unpack_seq(body: bytes) -> tuple[int, bytes]:
    """The sequence number that a body begins with, and the rest of it."""
    return _SEQ.unpack_from(body)[0], body[_SEQ.size :]
