"""Close reasons: their codes on the wire, and a count of each."""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum
from typing import NamedTuple

from ...core.wire.codes import Cause, ErrorCode

__all__ = ["Close", "CloseReason", "Closes"]


class CloseReason(Enum):
    """Why a connection ended, as logs and metrics name it. Each close has exactly one reason."""

    LEFT = "left"
    END_OF_STREAM = "end_of_stream"
    CUT = "cut_inside_frame"
    RESET = "reset"
    SILENT = "silent"
    PROTOCOL = "protocol"
    TOO_BIG = "too_big"
    UNSUPPORTED = "unsupported"
    TLS = "tls"
    AUTH = "auth"
    FULL = "full"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    FRAME_TIMEOUT = "frame_timeout"
    SLOW = "slow"
    SHUTDOWN = "shutdown"
    RESOURCE = "resource"
    KICKED = "kicked"
    TAKEN_OVER = "taken_over"
    INTERNAL = "internal"

    @property
    def cause(self) -> Cause:
        """The cause that the juniors of the departed member read in RANK (PROTOCOL section 4)."""
        if self in (CloseReason.LEFT, CloseReason.END_OF_STREAM):
            return Cause.LEFT
        if self in (CloseReason.CUT, CloseReason.RESET, CloseReason.SILENT):
            return Cause.LOST
        return Cause.EVICTED

    @property
    def keeps(self) -> bool:
        """Whether a seat that is kept outlives such an end: no LEAVE, and no ERROR (PROTOCOL section 9)."""
        return self in _LOSSES

    @property
    def code(self) -> ErrorCode | None:
        """The code of the ERROR before the close (PROTOCOL section 7); None when no ERROR is sent."""
        if self in (CloseReason.HANDSHAKE_TIMEOUT, CloseReason.FRAME_TIMEOUT):
            return ErrorCode.TIMEOUT
        return ErrorCode.__members__.get(self.name)

    @classmethod
    def of(cls, code: int) -> CloseReason:
        """The reason for a violation with this ErrorCode."""
        return cls[ErrorCode(code).name]


_LOSSES = frozenset(
    (CloseReason.END_OF_STREAM, CloseReason.CUT, CloseReason.RESET, CloseReason.SILENT, CloseReason.TLS)
)


class Close(NamedTuple):
    """One close: `at` in seconds of the server's clock; `ticket` is 0 when the connection never held a seat."""

    at: float
    reason: CloseReason
    detail: str
    name: str
    address: str
    ticket: int


class Closes:
    """Closes since the start: `counts` by reason, the `last` thousand, and `errors` of close(2) itself.

    `fresh`: those that were not taken yet
    """

    __slots__ = ("counts", "errors", "fresh", "last")

    def __init__(self) -> None:
        self.counts: Counter[CloseReason] = Counter()
        self.last: deque[Close] = deque(maxlen=1000)
        self.errors = 0
        self.fresh: list[Close] = []

    def add(self, close: Close) -> None:
        """Count a close under its reason."""
        self.counts[close.reason] += 1
        self.last.append(close)
        self.fresh.append(close)

    def take(self) -> list[Close]:
        """The closes since the last call."""
        fresh, self.fresh = self.fresh, []
        return fresh
