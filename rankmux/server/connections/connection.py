"""One connection: the facts of its life, and what follows from them.

Everything that decides what may happen to a connection is in the table of `states`: a step that the table does not have
raises StateError and changes nothing. No I/O, no clock. `Facts` has a compiled twin in `connection.pxi`.
"""

from __future__ import annotations

from ..._twin import twin
from ...core.room.batch import OBSERVERS
from ...core.wire.frames import Keep
from ...errors import StateError
from ..sockets.transport import Transport
from .closes import CloseReason
from .states import DEAD, GREETING, HANDSHAKE, LIVE, STEPS, Step

__all__ = ["Connection", "Facts"]


@twin
class Facts:
    """The facts of the `serial`th connection that was accepted; there are thousands, so each byte counts.

    `ticket`          its seat's, 0 before it has one; it keeps the number after the end. An observer's is a number from
                      OBSERVERS on
    `keep`            the keep that it asked for in HELLO, or None; `detached`: another connection may have its seat now
    `observes`, `watches`  what it asked for in HELLO: no seat; CHANGED for each event of the line
    `reason`, `detail`  why it ended; None while it lives
    `until`           the time by which the last bytes of an ended connection must be out, in seconds
    `broken`          why it takes no more bytes (in BROKEN), else ""
    `input_ended`     the peer's end of stream was read
    `paused`          why it is not read from: the reasons of `watching` in one number, 0 for none
    `pings`           PINGs sent since the last sign of life, the last one at `pinged_at`
    """

    __slots__ = (
        "address",
        "broken",
        "detached",
        "detail",
        "fd",
        "input_ended",
        "keep",
        "name",
        "observes",
        "opened_at",
        "paused",
        "pinged_at",
        "pings",
        "reason",
        "serial",
        "state",
        "ticket",
        "transport",
        "until",
        "watches",
    )

    def __init__(self, transport: Transport, serial: int, address: str, now: float) -> None:
        self.transport = transport
        self.fd = transport.fileno()
        self.serial = serial
        self.address = address
        self.opened_at = now
        self.state = HANDSHAKE if transport.handshaking else GREETING
        self.ticket = 0
        self.name = ""
        self.keep: Keep | None = None
        self.detached = False
        self.observes = False
        self.watches = False
        self.reason: CloseReason | None = None
        self.detail = ""
        self.until = 0.0
        self.broken = ""
        self.input_ended = False
        self.paused = 0
        self.pings = 0
        self.pinged_at = 0.0


class Connection(Facts):
    """One connection."""

    __slots__ = ()

    def step(self, step: Step) -> None:
        """Take `step`. Raises StateError, and changes nothing, when it is not legal in this state."""
        legal, following = STEPS[step]
        if self.state not in legal:
            raise StateError(step.value, self.state.value)
        self.state = following

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in LIVE

    @property
    def dead(self) -> bool:
        """Whether it is to be closed: no more I/O."""
        return self.state is DEAD

    @property
    def paced(self) -> bool:
        """Whether it is not read from for now."""
        return self.paused != 0

    @property
    def seated(self) -> bool:
        """Whether its ticket is that of a seat, which it holds."""
        return 0 < self.ticket < OBSERVERS and not self.detached

    @property
    def key(self) -> int:
        """The key of its queue in the outbox: its ticket; without its seat, a number that is nobody's ticket."""
        return -self.serial if self.detached or not self.ticket else self.ticket

    @property
    def host(self) -> str:
        """The address without the port."""
        return self.address.rpartition(":")[0]

    @property
    def why(self) -> str:
        """The reason with its detail, for a log line."""
        reason = self.reason.value if self.reason is not None else "alive"
        return f"{reason} ({self.detail})" if self.detail else reason
