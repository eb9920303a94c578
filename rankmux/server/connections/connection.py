"""A connection as the server holds it, and why connections end. No protocol rules, no I/O of its own."""

from __future__ import annotations

import socket
from collections import Counter, deque
from enum import Enum
from typing import NamedTuple

from ...core.server_session import Session
from ...core.wire.codes import Cause, ErrorCode
from ..sockets.tls import TlsSocket

__all__ = ["ASKING", "PACED", "Close", "CloseReason", "Closes", "Peer"]

PACED = 1
"""Why a connection is not read from: it fills somebody who does not keep up."""
ASKING = 2
"""The same: it asked for more than a turn answers."""


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
    TLS = "tls"
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

    __slots__ = ("close_errors", "counts", "last")

    def __init__(self) -> None:
        self.counts: Counter[CloseReason] = Counter()
        self.last: deque[Close] = deque(maxlen=1000)
        self.close_errors = 0

    def add(self, close: Close) -> None:
        """Count it, under its one reason."""
        self.counts[close.reason] += 1
        self.last.append(close)


class Peer:
    """One connection, the `serial`th that was accepted.

    `reason` is None while it lives, then `until` is when its last bytes must be out; `dead`: no more I/O. `pings` went
    out since `pinged_at` without a sign of life in between. `held`: why it is not read from for now, 0 when it is.
    `broken`: why it takes no more bytes, "" when it does; what had arrived from it is still read.
    `tls` is its socket again where TLS runs over it, and `shaking` until the handshake is done.
    """

    __slots__ = (
        "address",
        "broken",
        "dead",
        "detail",
        "fd",
        "held",
        "input_ended",
        "name",
        "opened_at",
        "pinged_at",
        "pings",
        "reason",
        "serial",
        "session",
        "shaking",
        "sock",
        "tls",
        "until",
    )

    def __init__(self, sock: socket.socket | TlsSocket, serial: int, address: str, now: float) -> None:
        self.sock = sock
        self.serial = serial
        self.tls = sock if isinstance(sock, TlsSocket) else None
        self.shaking = self.tls is not None
        self.fd = sock.fileno()
        self.address = address
        self.opened_at = now
        self.name = ""
        self.session = Session()
        self.pings = 0
        self.pinged_at = 0.0
        self.reason: CloseReason | None = None
        self.detail = ""
        self.until = 0.0
        self.held = 0
        self.broken = ""
        self.input_ended = False
        self.dead = False

    @property
    def host(self) -> str:
        """Its address without the port."""
        return self.address.rpartition(":")[0]

    @property
    def why(self) -> str:
        """Its reason with the detail, for a log."""
        reason = self.reason.value if self.reason is not None else "alive"
        return f"{reason} ({self.detail})" if self.detail else reason
