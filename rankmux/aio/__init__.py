"""The asyncio client, `rankmux.aio.Client`, and the names that programs with it need."""

from ..core.client.events import (
    Ended,
    ExecuteRejected,
    LineChanged,
    Promoted,
    SeatAbsent,
    SeatLost,
    SeatReturned,
    Welcomed,
)
from ..core.client.received import Rejected, reject
from ..core.client.results import Counts, RoutedResult
from ..core.wire.codes import Cause, Change, ErrorCode, RefusedCode, Status
from ..core.wire.frames import Baton, MemberInfo
from .client import Client
from .events import Events
from .handlers import Handler
from .leading import Term
from .receipt import Receipt, ReceivedCommand
from .watching import Watch

__all__ = [
    "Baton",
    "Cause",
    "Change",
    "Client",
    "Counts",
    "Ended",
    "ErrorCode",
    "Events",
    "ExecuteRejected",
    "Handler",
    "LineChanged",
    "MemberInfo",
    "Promoted",
    "Receipt",
    "ReceivedCommand",
    "RefusedCode",
    "Rejected",
    "RoutedResult",
    "SeatAbsent",
    "SeatLost",
    "SeatReturned",
    "Status",
    "Term",
    "Watch",
    "Welcomed",
    "reject",
]


def __dir__() -> list[str]:
    return sorted(__all__)
