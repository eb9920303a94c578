"""The asyncio client: `rankmux.aio.Client`."""

from .client import (
    Client,
    Counts,
    Ended,
    Events,
    Handler,
    Promoted,
    Receipt,
    ReceivedCommand,
    Rejected,
    RoutedResult,
    Status,
    Welcomed,
    reject,
)

__all__ = [
    "Client",
    "Counts",
    "Ended",
    "Events",
    "Handler",
    "Promoted",
    "Receipt",
    "ReceivedCommand",
    "Rejected",
    "RoutedResult",
    "Status",
    "Welcomed",
    "reject",
]
