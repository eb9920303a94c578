"""The wire of rankmux, version 1: every frame by its type (PROTOCOL sections 2 to 10).

The frames are defined in `client_frames` and `server_frames`; here they come together. Nothing here knows a socket, a
clock, a member or how a stream is cut into frames.
"""

from __future__ import annotations

from collections.abc import Callable

from .client_frames import (
    Cancel,
    Command,
    Hello,
    Keep,
    Leave,
    Ping,
    Pong,
    Result,
    SetBaton,
    Who,
    Yield,
    valid_name,
)
from .codes import ErrorCode, FrameType
from .fields import Frame, violation
from .server_frames import (
    Accepted,
    Baton,
    Changed,
    Done,
    ErrorFrame,
    Execute,
    MemberInfo,
    Members,
    Rank,
    Refused,
    Routed,
    Stop,
    Welcome,
    Yielded,
)

__all__ = [
    "Accepted",
    "Baton",
    "Cancel",
    "Changed",
    "Command",
    "Done",
    "ErrorFrame",
    "Execute",
    "Frame",
    "Hello",
    "Keep",
    "Leave",
    "MemberInfo",
    "Members",
    "Ping",
    "Pong",
    "Rank",
    "Refused",
    "Result",
    "Routed",
    "SetBaton",
    "Stop",
    "Welcome",
    "Who",
    "Yield",
    "Yielded",
    "decode",
    "valid_name",
]

_DECODERS: dict[int, Callable[[bytes], Frame]] = {
    FrameType.HELLO: Hello.decode,
    FrameType.COMMAND: Command.decode,
    FrameType.RESULT: Result.decode,
    FrameType.CANCEL: Cancel.decode,
    FrameType.YIELD: Yield.decode,
    FrameType.SET_BATON: SetBaton.decode,
    FrameType.WHO: Who.decode,
    FrameType.PING: Ping.decode,
    FrameType.PONG: Pong.decode,
    FrameType.LEAVE: Leave.decode,
    FrameType.WELCOME: Welcome.decode,
    FrameType.EXECUTE: Execute.decode,
    FrameType.RANK: Rank.decode,
    FrameType.ACCEPTED: Accepted.decode,
    FrameType.REFUSED: Refused.decode,
    FrameType.ROUTED: Routed.decode,
    FrameType.DONE: Done.decode,
    FrameType.MEMBERS: Members.decode,
    FrameType.ERROR: ErrorFrame.decode,
    FrameType.STOP: Stop.decode,
    FrameType.YIELDED: Yielded.decode,
    FrameType.BATON: Baton.decode,
    FrameType.CHANGED: Changed.decode,
}


def decode(type_: int, body: bytes, allowed: frozenset[FrameType]) -> Frame:
    """Decode the frame of `type_` with `body`; UNSUPPORTED when the type is not one of `allowed` (section 3.3)."""
    if type_ not in allowed:
        raise violation(
            f"frame type {type_:#04x} is unknown, reserved or of the other direction", ErrorCode.UNSUPPORTED
        )
    return _DECODERS[type_](body)
