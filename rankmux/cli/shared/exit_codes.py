"""Exit codes of rankmux-client."""

from __future__ import annotations

from enum import IntEnum

from ...errors import LocalError

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from ...core.client.results import Counts

__all__ = ["Exit"]


class Exit(IntEnum):
    """One code for each way to end."""

    OK = 0
    FAILED = 1
    USAGE = 2
    TIMED_OUT = 3
    REFUSED = 4
    NOT_CONNECTED = 5
    INTERRUPTED = 130

    @classmethod
    def of(cls, *, failed: int, rejected: int, expired: int, left: int, cancelled: int = 0) -> Exit:
        """The code for a command, from the numbers of executors that ended in these ways; the others succeeded."""
        if rejected:
            return cls.REFUSED
        if expired:
            return cls.TIMED_OUT
        return cls.FAILED if failed or left or cancelled else cls.OK

    @classmethod
    def of_counts(cls, counts: Counts) -> Exit:
        """The code for a command that is done."""
        return cls.of(
            failed=counts.failed,
            rejected=counts.rejected,
            expired=counts.expired,
            left=counts.left,
            cancelled=counts.cancelled,
        )

    @classmethod
    def without_connection(cls, error: Exception) -> Exit:
        """The code for a connection that failed with `error`."""
        return cls.USAGE if isinstance(error, LocalError) else cls.NOT_CONNECTED
