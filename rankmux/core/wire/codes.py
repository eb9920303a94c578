"""The numbers of the wire: frame types, codes, flags and limits (PROTOCOL sections 2 to 10). Nothing but numbers."""

from __future__ import annotations

from enum import IntEnum, IntFlag

from .limits import (
    ADDRESS_MAX_BYTES,
    DEFAULT_MAX_PAYLOAD,
    DEFAULT_PORT,
    FRAME_OVERHEAD,
    NAME_MAX_BYTES,
    NO_RANK,
    PING_MAX_BYTES,
    SECRET_MAX_BYTES,
    SECRET_MIN_BYTES,
    TOKEN_MAX_BYTES,
    U32_MAX,
    VERSION,
)

__all__ = [
    "ADDRESS_MAX_BYTES",
    "CLIENT_FRAMES",
    "CLIENT_STATUSES",
    "DEFAULT_MAX_PAYLOAD",
    "DEFAULT_PORT",
    "FRAME_OVERHEAD",
    "NAME_MAX_BYTES",
    "NO_RANK",
    "PING_MAX_BYTES",
    "SECRET_MAX_BYTES",
    "SECRET_MIN_BYTES",
    "SERVER_FRAMES",
    "TOKEN_MAX_BYTES",
    "U32_MAX",
    "VERSION",
    "Cause",
    "Change",
    "CommandFlag",
    "ErrorCode",
    "ExecuteFlag",
    "FrameType",
    "HelloFlag",
    "Presence",
    "RefusedCode",
    "Status",
    "Target",
]


class FrameType(IntEnum):
    """Section 2. The upper bit tells the direction, but PING and PONG go both ways.

    CANCEL and BATON go both ways too, with different bodies: what the server sends is called STOP and BATON here, what
    a client sends CANCEL and SET_BATON.
    """

    HELLO = 0x01
    COMMAND = 0x02
    RESULT = 0x03
    CANCEL = 0x04
    WHO = 0x05
    PING = 0x06
    PONG = 0x07
    LEAVE = 0x08
    YIELD = 0x09
    SET_BATON = 0x0A
    WELCOME = 0x81
    EXECUTE = 0x82
    RANK = 0x83
    ACCEPTED = 0x84
    REFUSED = 0x85
    ROUTED = 0x86
    DONE = 0x87
    MEMBERS = 0x88
    ERROR = 0x89
    STOP = 0x8A
    YIELDED = 0x8B
    BATON = 0x8C
    CHANGED = 0x8D


class HelloFlag(IntFlag):
    """Section 3: what a connection wants beside, or instead of, a seat."""

    OBSERVE = 1
    WATCH = 2


class Target(IntEnum):
    """The targets of a command: its executors (section 5)."""

    ALL = 0
    ONE = 1
    NEXT = 2
    LEAST = 3
    SET = 4


class CommandFlag(IntFlag):
    """Section 5."""

    RESULTS = 1
    QUIET = 2
    TIED = 4


class ExecuteFlag(IntFlag):
    """Section 5."""

    RESULT_WANTED = 1


class Status(IntEnum):
    """Section 6. EXPIRED, LEFT and CANCELLED come from the server only; PART is not an end."""

    OK = 0
    FAILED = 1
    REJECTED = 2
    EXPIRED = 3
    LEFT = 4
    CANCELLED = 5
    PART = 16


class Cause(IntEnum):
    """Section 4: why the member before went."""

    LEFT = 1
    LOST = 2
    EVICTED = 3
    YIELDED = 4


class Change(IntEnum):
    """What CHANGED tells of a member."""

    JOINED = 1
    LEFT = 2
    LOST = 3
    EVICTED = 4
    ABSENT = 5
    BACK = 6
    YIELDED = 7


class Presence(IntEnum):
    """The state of a member in MEMBERS: whether its seat has a connection."""

    PRESENT = 0
    ABSENT = 1


class RefusedCode(IntEnum):
    """Section 5: why a command was not dispatched."""

    NO_TARGET = 1
    NOT_LOWER = 2
    NO_SUCH_RANK = 3
    BUSY = 4
    DUPLICATE = 5
    TOO_BIG = 6
    ABSENT = 7
    NOT_FIRST = 8


class ErrorCode(IntEnum):
    """Section 7: why the server closes a connection."""

    PROTOCOL = 1
    TOO_BIG = 2
    UNSUPPORTED = 3
    AUTH = 4
    FULL = 5
    TIMEOUT = 6
    SLOW = 7
    SHUTDOWN = 8
    RESOURCE = 9
    KICKED = 10
    INTERNAL = 11
    TAKEN_OVER = 12


CLIENT_STATUSES = frozenset((Status.OK, Status.FAILED, Status.REJECTED, Status.PART))
"""The statuses that a client may send (section 6)."""
CLIENT_FRAMES = frozenset(t for t in FrameType if t < 0x80)
"""The types that a client sends (section 2)."""
SERVER_FRAMES = frozenset(t for t in FrameType if t >= 0x80) | {FrameType.PING, FrameType.PONG}
"""The types that a server sends (section 2)."""
