"""The table of states of a client session (PROTOCOL section 3): the frames that each of them may send and receive."""

from __future__ import annotations

from enum import Enum

from ..wire.codes import SERVER_FRAMES, FrameType

__all__ = ["ClientState"]

_NOTHING: frozenset[FrameType] = frozenset()
_LOOKING = frozenset({FrameType.WHO, FrameType.PING, FrameType.LEAVE})
_REQUESTS = _LOOKING | {
    FrameType.COMMAND,
    FrameType.RESULT,
    FrameType.CANCEL,
    FrameType.YIELD,
    FrameType.SET_BATON,
}
_ANSWERS = SERVER_FRAMES - {FrameType.WELCOME}
_SIGHTS = frozenset({FrameType.MEMBERS, FrameType.CHANGED, FrameType.PING, FrameType.PONG, FrameType.ERROR})


class ClientState(Enum):
    """The table of a session's life (section 3): for each state the frames that may be sent, and those that may come.

    The session itself sends HELLO first, and PONGs. Bytes behind the end are dropped unread.
    """

    AWAITING = "WELCOME has not come yet", _NOTHING, frozenset({FrameType.WELCOME, FrameType.ERROR})
    JOINED = "joined", _REQUESTS, _ANSWERS
    OBSERVING = "this client only looks on", _LOOKING, _SIGHTS
    LEAVING = "LEAVE has been sent", _NOTHING, _ANSWERS
    ENDED = "the connection has ended", _NOTHING, _NOTHING

    def __init__(self, text: str, sends: frozenset[FrameType], receives: frozenset[FrameType]) -> None:
        self.text = text
        self.sends = sends
        self.receives = receives

    @property
    def open(self) -> bool:
        """Whether WELCOME has come, and requests may be sent."""
        return bool(self.sends)
