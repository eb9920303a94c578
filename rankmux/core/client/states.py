"""The life of a client's side of a connection, as a table of states (PROTOCOL section 3): what goes out and in when."""

from __future__ import annotations

from enum import Enum

from ..wire.codes import SERVER_FRAMES, FrameType

__all__ = ["RECEIVES", "SENDS", "State"]


class State(Enum):
    """Where a session's life stands."""

    AWAITING = "WELCOME has not come yet"
    JOINED = "joined"
    LEAVING = "LEAVE has been sent"
    ENDED = "the connection has ended"


SENDS: dict[State, frozenset[FrameType]] = {
    State.AWAITING: frozenset(),
    State.JOINED: frozenset(
        {FrameType.COMMAND, FrameType.RESULT, FrameType.WHO, FrameType.PING, FrameType.LEAVE},
    ),
    State.LEAVING: frozenset(),
    State.ENDED: frozenset(),
}
"""What may be sent in which state. HELLO is sent by being made; a PONG is sent by the session itself."""

RECEIVES: dict[State, frozenset[FrameType]] = {
    State.AWAITING: frozenset({FrameType.WELCOME, FrameType.ERROR}),
    State.JOINED: SERVER_FRAMES - {FrameType.WELCOME},
    State.LEAVING: SERVER_FRAMES - {FrameType.WELCOME},
    State.ENDED: frozenset(),
}
"""What may come in which state (section 3). Bytes that come after the end are dropped unread."""
