"""A connection as the server holds it, and why connections end. No protocol rules, no I/O of its own."""

from __future__ import annotations

import socket
from collections import Counter, deque
from enum import Enum
from typing import NamedTuple

from .codes import Cause, ErrorCode
from .session import Session

__all__ = ["Close", "CloseReason", "Closes", "Peer"]


class CloseReason(Enum):
    """Why a connection ended, in the words of logs and metrics; each close has exactly one."""

    LEFT = "left"
    END_OF_STREAM = "end_of_stream"
    CUT = "cut_inside_frame"
    RESET = "reset"
    SILENT = "silent"
    PROTOCOL = "protocol"
    TOO_BIG = "too_big"
    UNSUPPORTED = "unsupported"
    AUTH = "auth"
    FULL = "full"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    FRAME_TIMEOUT = "frame_timeout"
    SLOW = "slow"
    SHUTDOWN = "shutdown"
    RESOURCE = "resource"
    KICKED = "kicked"
    INTERNAL = "internal"

    @property
    def cause(self) -> Cause:
        """What the juniors of a member that ended so are told (PROTOCOL section 4)."""
        if self in (CloseReason.LEFT, CloseReason.END_OF_STREAM):
            return Cause.LEFT
        if self in (CloseReason.CUT, CloseReason.RESET, CloseReason.SILENT):
            return Cause.LOST
        return Cause.EVICTED

    @property
    def code(self) -> ErrorCode | None:
        """The ERROR that goes out before the close (PROTOCOL section 7), if one does."""
        if self in (CloseReason.HANDSHAKE_TIMEOUT, CloseReason.FRAME_TIMEOUT):
            return ErrorCode.TIMEOUT
        return ErrorCode.__members__.get(self.name)

    @classmethod
    def of(cls, code: int) -> CloseReason:
        """The reason of a breach with this ErrorCode."""
        return cls[ErrorCode(code).name]


class Close(NamedTuple):
    """A line of the ring of closes: `at` in seconds of the server's clock, `ticket` 0 for who was no member."""

    at: float
    reason: CloseReason
    detail: str
    name: str
    address: str
    ticket: int


class Closes:
    """How connections ended: `counts` by reason, and the `last` thousand."""

    __slots__ = ("counts", "last")

    def __init__(self) -> None:
        self.counts: Counter[CloseReason] = Counter()
        self.last: deque[Close] = deque(maxlen=1000)

    def add(self, close: Close) -> None:
        """Count it, under its one reason."""
        self.counts[close.reason] += 1
        self.last.append(close)


class Peer:
    """One connection, the `order`-th to be accepted. `reason` is None while it lives, then `until` is when its last bytes must be out; `dead`: no more I/O.

    `pings` went out since `pinged_at` without a sign of life in between.
    """

    __slots__ = (
        "address",
        "dead",
        "detail",
        "fd",
        "input_ended",
        "name",
        "opened_at",
        "order",
        "pinged_at",
        "pings",
        "reason",
        "session",
        "sock",
        "until",
    )

    def __init__(self, sock: socket.socket, address: str, order: int, now: float) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.address = address
        self.order = order
        self.opened_at = now
        self.name = ""
        self.session = Session()
        self.pings = 0
        self.pinged_at = 0.0
        self.reason: CloseReason | None = None
        self.detail = ""
        self.until = 0.0
        self.input_ended = False
        self.dead = False
