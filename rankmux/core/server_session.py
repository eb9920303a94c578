"""The server's side of one connection's life, without I/O: bytes in, events out (PROTOCOL section 3).

A connection is greeted, joins, is a member, and ends; each step is in the table or raises StateError. Whether the token
is right and a seat is free is decided elsewhere.
"""

from __future__ import annotations

from enum import Enum

from ..errors import ProtocolViolation, StateError
from .room.batch import Batch, Event
from .wire.codes import CLIENT_FRAMES, FRAME_OVERHEAD, ErrorCode, FrameType
from .wire.frames import Hello
from .wire.violations import bad_length

__all__ = ["HELLO_MAX_BYTES", "Session", "State", "Step"]

HELLO_MAX_BYTES = 4096
"""The longest frame that is taken before HELLO is accepted: a HELLO needs 1,104 bytes at most."""


_HELLO = int(FrameType.HELLO)


class State(Enum):
    """Where a connection is in its life."""

    GREETING = "waiting for HELLO"
    JOINING = "waiting for a seat"
    MEMBER = "a member"
    ENDED = "ended"


class Step(Enum):
    """What moves a connection on: from which states, and to which. This is the table."""

    HELLO = "accepting HELLO", (State.GREETING,), State.JOINING
    SEAT = "taking a seat", (State.JOINING,), State.MEMBER
    END = "ending", (State.GREETING, State.JOINING, State.MEMBER), State.ENDED

    def __init__(self, label: str, allowed: tuple[State, ...], following: State) -> None:
        self.label = label
        self.allowed = allowed
        self.following = following


class Session:
    """`pending` holds the bytes of a frame that is not whole yet (and, while joining, all that came behind HELLO)."""

    __slots__ = ("pending", "state", "ticket")

    def __init__(self) -> None:
        self.state = State.GREETING
        self.ticket = 0
        self.pending: bytearray | None = None

    def step(self, step: Step) -> None:
        """Move on as the table says. Raises StateError, and changes nothing, when it has no such step."""
        if self.state not in step.allowed:
            raise StateError(step.label, self.state.value)
        self.state = step.following
        if step is Step.END:
            self.pending = None

    def receive_data(self, data: bytes | memoryview, batch: Batch) -> list[Event]:
        """Take what the peer sent: a member's commands and results go into `batch`, the rest comes back.

        Comes back: the Hello, Who, Ping, Leave frames and, as the last, a ProtocolViolation. `b""` means nothing. While
        joining and after the end nothing comes back.
        """
        if self.state is State.ENDED:
            return []
        if self.pending:
            self.pending += data
            if self.state is State.MEMBER and len(self.pending) >= 4:
                length = int.from_bytes(self.pending[:4])
                if len(self.pending) - 4 < length <= batch.max_payload + FRAME_OVERHEAD:
                    return []  # a long frame that drips in costs no more than its bytes
            held: bytes | bytearray | memoryview = self.pending
        else:
            held = data
        if self.state is State.MEMBER:
            taken, events = batch.feed(self.ticket, held)
        elif self.state is State.GREETING:
            taken, events = _greet(held, min(HELLO_MAX_BYTES, batch.max_payload + FRAME_OVERHEAD))
        else:
            taken, events = 0, []
        self.pending = bytearray(held[taken:]) if taken < len(held) else None
        return events


def _greet(data: bytes | bytearray | memoryview, max_length: int) -> tuple[int, list[Event]]:
    """The Hello at the front of `data`, or the breach, as soon as it can be told; with the bytes that it took."""
    if len(data) < 4:
        return 0, []
    length = int.from_bytes(data[:4])
    if not 0 < length <= max_length:
        return len(data), [bad_length(length, max_length)]
    if len(data) > 4 and data[4] != _HELLO:
        code = ErrorCode.PROTOCOL if data[4] in CLIENT_FRAMES else ErrorCode.UNSUPPORTED
        return len(data), [
            ProtocolViolation(code, f"the first frame is HELLO (0x01), this one is {data[4]:#04x}")
        ]
    if len(data) < 4 + length:
        return 0, []
    try:
        return 4 + length, [Hello.decode(bytes(data[5 : 4 + length]))]
    except ProtocolViolation as breach:
        return len(data), [breach]
