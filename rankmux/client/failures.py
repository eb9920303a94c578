"""The failures that both clients report, worded once.

The functions return exceptions, for the caller to raise.
"""

from __future__ import annotations

from ..errors import ConnectionLost, StateError
from .address import Address

__all__ = [
    "TLS_ERRORS",
    "no_answer",
    "no_listing",
    "no_result",
    "no_welcome",
    "not_done",
    "nothing_read",
    "reason_of",
    "tls_failed",
    "too_many_results",
    "unreachable",
]

TLS_ERRORS = (OSError, ValueError)
"""The errors of a handshake: ValueError for a certificate that does not match, and for a context made for servers."""


def reason_of(error: Exception) -> str:
    """The text of a socket's error, for ConnectionLost."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def unreachable(address: Address, error: Exception) -> ConnectionLost:
    """No connection to `address`."""
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return ConnectionLost(f"nobody listens at {address}: is rankmux-server running there?")
    return ConnectionLost(f"cannot connect to {address}: {reason_of(error)}")


def tls_failed(address: Address, error: Exception) -> ConnectionLost:
    """No TLS with `address`."""
    return ConnectionLost(f"TLS with {address} failed: {error}")


def no_welcome(address: Address, timeout_s: float) -> ConnectionLost:
    """A connection, and neither WELCOME nor ERROR over it."""
    return ConnectionLost(f"{address} did not answer within {timeout_s:g} s")


def too_many_results() -> StateError:
    """A wait that cannot end: nothing more is received until results are read."""
    return StateError("waiting", "too many results are unread: read those of the receipts, or drop them")


def no_answer(id_: int, timeout_s: float) -> TimeoutError:
    """A command that the server neither dispatches nor refuses."""
    return TimeoutError(f"the server did not answer command {id_} within {timeout_s:g} s")


def no_listing(timeout_s: float) -> TimeoutError:
    """A WHO without MEMBERS."""
    return TimeoutError(f"the server did not list its members within {timeout_s:g} s")


def nothing_read(timeout_s: float) -> TimeoutError:
    """Too many bytes wait for a server that does not read."""
    return TimeoutError(f"the server has read nothing for {timeout_s:g} s")


def no_result(id_: int, timeout_s: float | None) -> TimeoutError:
    """A command without a further result in the caller's time."""
    return TimeoutError(f"no result of command {id_} came for {timeout_s:g} s")


def not_done(id_: int, timeout_s: float | None) -> TimeoutError:
    """A command with executors that have not ended in the caller's time."""
    return TimeoutError(f"command {id_} was not done within {timeout_s:g} s")
