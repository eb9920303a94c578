"""The asyncio client, `rankmux.aio.Client`, and the names that programs with it need."""

from ..core.client.events import Ended, ExecuteRejected, Promoted, Welcomed
from ..core.client.received import Rejected, reject
from ..core.client.sent import Counts, RoutedResult
from ..core.wire.codes import Cause, ErrorCode, RefusedCode, Status, Target
from ..core.wire.frames import MemberInfo
from .client import Client
from .events import Events
from .handlers import Handler
from .receipt import Receipt, ReceivedCommand

__all__ = [
    "Cause",
    "Client",
    "Counts",
    "Ended",
    "ErrorCode",
    "Events",
    "ExecuteRejected",
    "Handler",
    "MemberInfo",
    "Promoted",
    "Receipt",
    "ReceivedCommand",
    "RefusedCode",
    "Rejected",
    "RoutedResult",
    "Status",
    "Target",
    "Welcomed",
    "reject",
]
