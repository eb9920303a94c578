"""What a client session reports: one frozen dataclass for each thing that can happen to a member.

The session makes them, the drivers (blocking, asyncio, the command line) act on them. Nothing here knows bytes, sockets
or the clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import RankmuxError
from ..wire.codes import Cause, Status
from ..wire.frames import MemberInfo

__all__ = [
    "CommandAccepted",
    "CommandDone",
    "Ended",
    "Event",
    "ExecuteReceived",
    "ExecuteRejected",
    "MembersPage",
    "PingReceived",
    "PongReceived",
    "Promoted",
    "RefusalReceived",
    "ResultRouted",
    "ServerErrorReceived",
    "Welcomed",
]


@dataclass(frozen=True, slots=True)
class Welcomed:
    """We hold a seat (section 3.2): our `rank` among `members`, in a room of `capacity` seats."""

    instance: int
    ticket: int
    seq: int
    rank: int
    members: int
    capacity: int
    max_payload: int
    ping_ms: int


@dataclass(frozen=True, slots=True)
class ExecuteReceived:
    """A command to run (section 5), sent by a senior. `rank` is our own at its dispatch; `ttl_ms` 0 is no limit."""

    seq: int
    sender_rank: int
    rank: int
    wants_result: bool
    ttl_ms: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class ExecuteRejected:
    """A command from a member that is not our senior: not to be run, and answered REJECTED already (section 5)."""

    seq: int
    sender_rank: int
    rank: int
    wants_result: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class Promoted:
    """Seniors went, we moved up from `before` to `rank` (section 4); `members` are left."""

    seq: int
    before: int
    rank: int
    members: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class CommandAccepted:
    """Our command `id` went to `executors`; it was rejected for `rejected` seniors (section 5)."""

    id: int
    seq: int
    executors: int
    rejected: int


@dataclass(frozen=True, slots=True)
class RefusalReceived:
    """Our command `id` went to nobody; `code` is a RefusedCode (section 5), or a number that is not known here."""

    id: int
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class ResultRouted:
    """Something that an executor of our command `id` gave (section 6); `rank` is the executor's at dispatch."""

    id: int
    ticket: int
    rank: int
    status: Status
    payload: bytes


@dataclass(frozen=True, slots=True)
class CommandDone:
    """Every executor of our command `id` has ended, so often in each way (section 6)."""

    id: int
    ok: int
    failed: int
    rejected: int
    expired: int
    left: int


@dataclass(frozen=True, slots=True)
class MembersPage:
    """The answer to WHO `id`: some of the room's `total` members, as of `seq` (section 2)."""

    id: int
    seq: int
    total: int
    members: tuple[MemberInfo, ...]


@dataclass(frozen=True, slots=True)
class PingReceived:
    """The server asked whether we live; the session has answered (section 3.5)."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class PongReceived:
    """The server answered our oldest open PING (section 3.5)."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class ServerErrorReceived:
    """The server said ERROR and closes (section 7); `Ended` follows."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event. `error` says why: a ConnectionLost, ServerError or ProtocolViolation; None after our LEAVE."""

    error: RankmuxError | None


Event = (
    Welcomed
    | ExecuteReceived
    | ExecuteRejected
    | Promoted
    | CommandAccepted
    | RefusalReceived
    | ResultRouted
    | CommandDone
    | MembersPage
    | PingReceived
    | PongReceived
    | ServerErrorReceived
    | Ended
)
"""Any of the above, for `match`."""
