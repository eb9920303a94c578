"""The events of a client session: one frozen dataclass for each thing that can happen to a member.

The session makes them; the drivers act on them. Nothing here knows bytes, sockets or the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ...errors import RankmuxError
from ..wire.codes import Cause, Change
from ..wire.frames import MemberInfo
from .results import RoutedResult

__all__ = [
    "ClientEvent",
    "CommandAccepted",
    "CommandDone",
    "CommandsForgotten",
    "CommandsReceived",
    "Ended",
    "ExecuteReceived",
    "ExecuteRejected",
    "ExecutionCancelled",
    "LineChanged",
    "MembersPage",
    "Promoted",
    "RefusalReceived",
    "ResultsRouted",
    "SeatAbsent",
    "SeatEvent",
    "SeatLost",
    "SeatReturned",
    "ServerErrorReceived",
    "Welcomed",
    "Yielded",
]


@dataclass(frozen=True, slots=True)
class Welcomed:
    """This client holds a seat (section 3.2): `rank` among `member_count` members, in a room of `capacity` seats.

    `returned` tells whether it is the seat that was kept, and `keep_ms` for how long it is kept, None where no keep was
    asked for. An observer has no seat: its ticket is 0, its rank 0xFFFFFFFF (section 8).
    """

    instance: int
    ticket: int
    seq: int
    rank: int
    member_count: int
    capacity: int
    max_payload: int
    ping_ms: int
    returned: bool = False
    keep_ms: int | None = None


class ExecuteReceived(NamedTuple):
    """A command to run (section 5), sent by a senior. `rank` is this client's at dispatch; `ttl_ms` 0 is no limit."""

    seq: int
    sender_rank: int
    rank: int
    wants_result: bool
    ttl_ms: int
    payload: bytes


class CommandsReceived(NamedTuple):
    """Commands to run, in the order they came; `size` is the bytes of their payloads."""

    commands: list[ExecuteReceived]
    size: int


@dataclass(frozen=True, slots=True)
class ExecuteRejected:
    """A command from a member that is no senior: not to be run, and answered REJECTED already (section 5)."""

    seq: int
    sender_rank: int
    rank: int
    wants_result: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class ExecutionCancelled:
    """The command `seq` is to be stopped, or not to be begun, and not to be answered (section 6)."""

    seq: int


@dataclass(frozen=True, slots=True)
class Promoted:
    """Seniors went, and this client moved up (section 4): from rank `before` to `rank`, of `member_count` members."""

    seq: int
    before: int
    rank: int
    member_count: int
    cause: Cause


class CommandAccepted(NamedTuple):
    """The command `id` went to `executors` members; it was rejected for `rejected` seniors (section 5)."""

    id: int
    seq: int
    executors: int
    rejected: int
    absent: int = 0


@dataclass(frozen=True, slots=True)
class RefusalReceived:
    """The command `id` went to nobody (section 5); `code` is a RefusedCode, or a number that is not known here."""

    id: int
    code: int
    text: str


class ResultsRouted(NamedTuple):
    """Results of the command `id` (section 6), in the order they came; `size` is the bytes of their payloads."""

    id: int
    results: list[RoutedResult]
    size: int


class CommandDone(NamedTuple):
    """Every executor of the command `id` has ended (section 6); the numbers count the ways."""

    id: int
    ok: int
    failed: int
    rejected: int
    expired: int
    left: int
    cancelled: int = 0


@dataclass(frozen=True, slots=True)
class MembersPage:
    """The answer to WHO `id` (section 2): some of the room's `total` members, as of `seq`."""

    id: int
    seq: int
    total: int
    members: tuple[MemberInfo, ...]


@dataclass(frozen=True, slots=True)
class LineChanged:
    """An event of the line (section 8), for those that watch: `what` happened to the member `ticket`.

    `rank` is the member's before any departure of that turn, a newcomer's its own; `member_count` is as of after it.
    """

    seq: int
    what: Change
    ticket: int
    rank: int
    member_count: int
    name: str


@dataclass(frozen=True, slots=True)
class Yielded:
    """This client stepped back (section 10), and has the last place under a new ticket."""

    id: int
    seq: int
    ticket: int
    rank: int
    members: int


@dataclass(frozen=True, slots=True)
class CommandsForgotten:
    """The commands `ids` of this client have no further answers, as it stepped back (section 10)."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SeatAbsent:
    """The connection is lost, or silent for too long, and the seat is kept (section 9): no rank until it is back."""

    error: RankmuxError | None


@dataclass(frozen=True, slots=True)
class SeatReturned:
    """This client is back in its seat (section 9)."""

    rank: int


@dataclass(frozen=True, slots=True)
class SeatLost:
    """The seat of `ticket` that was kept is gone (section 9), and with it all that it owed."""

    ticket: int


SeatEvent = SeatAbsent | SeatReturned | SeatLost
"""An event of a seat that is kept."""


@dataclass(frozen=True, slots=True)
class ServerErrorReceived:
    """The server sent ERROR and closes (section 7); `Ended` follows."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event. `error` is the reason: a ConnectionLost, ServerError or ProtocolViolation; None after LEAVE.

    `kept` tells whether the seat outlives the connection (section 9).
    """

    error: RankmuxError | None
    kept: bool = False


ClientEvent = (
    Welcomed
    | CommandsReceived
    | ExecuteRejected
    | ExecutionCancelled
    | Promoted
    | CommandAccepted
    | RefusalReceived
    | ResultsRouted
    | CommandDone
    | CommandsForgotten
    | MembersPage
    | LineChanged
    | Yielded
    | SeatEvent
    | ServerErrorReceived
    | Ended
)
"""Any of these events, for `match`."""
