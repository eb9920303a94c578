"""The states of a connection, and the steps between them: the table of its life.

The picture in docs/design.md is drawn from the table. Knows no connection.
"""

from __future__ import annotations

from enum import Enum

__all__ = [
    "BROKEN",
    "DEAD",
    "ENDED",
    "ENDING",
    "GREETING",
    "HANDSHAKE",
    "JOINING",
    "LINGERING",
    "LIVE",
    "MEMBER",
    "OBSERVER",
    "STEPS",
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

LIVE = frozenset((HANDSHAKE, GREETING, JOINING, MEMBER, OBSERVER, BROKEN))
"""The states of a connection that has not ended yet."""
