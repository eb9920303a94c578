"""The life of one connection: its states, the steps between them, and the facts that depend on them.

Everything that decides what may happen to a connection is in `STEPS`: a step that the table does not have raises
StateError and changes nothing. The picture in docs/design.md is drawn from the table. No I/O, no clock.
"""

from __future__ import annotations

from enum import Enum

from ...core.room.batch import OBSERVERS
from ...core.wire.frames import Keep
from ...errors import StateError
from ..sockets.transport import Transport
from .closes import CloseReason

__all__ = [
    "BROKEN",
    "DEAD",
    "ENDED",
    "ENDING",
    "GREETING",
    "HANDSHAKE",
    "JOINING",
    "LINGERING",
    "MEMBER",
    "OBSERVER",
    "STEPS",
    "Connection",
    "State",
    "Step",
]


class State(Enum):
    """Where a connection is in its life."""

    HANDSHAKE = "shaking hands (TLS)"
    GREETING = "waiting for HELLO"
    JOINING = "waiting for a seat"
    MEMBER = "a member"
    OBSERVER = "looking on"
    BROKEN = "not taking bytes"
    ENDED = "ended, before its ERROR"
    ENDING = "ended, with bytes to send"
    LINGERING = "ended, all sent"
    DEAD = "to be closed"

    __hash__ = object.__hash__  # as members are equal only to themselves; that of Enum is Python code


# On Python 3.11, `State.MEMBER` takes ten times as long as a name of the module.
HANDSHAKE, GREETING, JOINING, MEMBER = State.HANDSHAKE, State.GREETING, State.JOINING, State.MEMBER
BROKEN, ENDED, ENDING, LINGERING, DEAD = State.BROKEN, State.ENDED, State.ENDING, State.LINGERING, State.DEAD
OBSERVER = State.OBSERVER


class Step(Enum):
    """An event in the life of a connection."""

    SECURE = "finishing the TLS handshake"
    HELLO = "accepting HELLO"
    SEAT = "taking a seat"
    OBSERVE = "looking on"
    BREAK = "failing to take bytes"
    END = "ending"
    FAREWELL = "sending the ERROR"
    FLUSH = "sending the last byte"
    DROP = "giving up"

    __hash__ = object.__hash__


STEPS: dict[Step, tuple[tuple[State, ...], State]] = {
    Step.SECURE: ((State.HANDSHAKE,), State.GREETING),
    Step.HELLO: ((State.GREETING,), State.JOINING),
    Step.SEAT: ((State.JOINING,), State.MEMBER),
    Step.OBSERVE: ((State.JOINING,), State.OBSERVER),
    # Frames that the member had sent before still count, so it is read to the end.
    Step.BREAK: ((State.MEMBER,), State.BROKEN),
    # The reason is known; frames of this turn still go out.
    Step.END: (
        (
            State.HANDSHAKE,
            State.GREETING,
            State.JOINING,
            State.MEMBER,
            State.OBSERVER,
            State.BROKEN,
        ),
        State.ENDED,
    ),
    # At the end of the turn: the ERROR, if there is one, is queued behind everything else.
    Step.FAREWELL: ((State.ENDED,), State.ENDING),
    # Our end of the stream is out; the peer's is awaited, since closing with unread input would send a reset.
    Step.FLUSH: ((State.ENDING,), State.LINGERING),
    # The reaper closes it at the end of the turn, once the room has given up its seat.
    Step.DROP: ((State.ENDED, State.ENDING, State.LINGERING), State.DEAD),
}
"""For each step, the states in which it is legal and the state that follows."""

_LIVE = frozenset((HANDSHAKE, GREETING, JOINING, MEMBER, OBSERVER, BROKEN))


class Connection:
    """One connection, the `serial`th that was accepted.

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

    def step(self, step: Step) -> None:
        """Take `step`. Raises StateError, and changes nothing, when it is not legal in this state."""
        legal, following = STEPS[step]
        if self.state not in legal:
            raise StateError(step.value, self.state.value)
        self.state = following

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in _LIVE

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
