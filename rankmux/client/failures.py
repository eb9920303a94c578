"""The failures that both clients report, worded once.

The functions return exceptions, for the caller to raise.
"""

from __future__ import annotations

import errno
import socket

from ..errors import ConnectionLost, StateError
from .address import Address

__all__ = [
    "TLS_ERRORS",
    "client_closed",
    "interrupted",
    "no_answer",
    "no_change",
    "no_listing",
    "no_rank",
    "no_result",
    "no_token",
    "no_welcome",
    "not_done",
    "nothing_read",
    "reason_of",
    "tls_failed",
    "too_many_results",
    "unreachable",
    "used_after_fork",
    "used_in_signal",
]

TLS_ERRORS = (OSError, ValueError)
"""The errors of a handshake: ValueError for a certificate that does not match, and for a context made for servers."""


def reason_of(error: Exception) -> str:
    """The text of a socket's error, for ConnectionLost."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


_BACKLOG_FULL = "its queue of new connections is full"
_REASONS = {
    errno.EADDRNOTAVAIL: "no local port is free, or the address is none of this machine's networks",
    errno.EMFILE: "this process has no file descriptor left",
    errno.ENFILE: "this machine has no file descriptor left",
    errno.ENOBUFS: "this machine has no memory left for sockets",
    errno.ENOMEM: "this machine has no memory left",
}
"""Refusals of this machine for now, which say nothing about the server."""


def unreachable(address: Address, error: Exception) -> ConnectionLost:
    """No connection to `address`."""
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return ConnectionLost(f"nobody listens at {address}: is rankmux-server running there?")
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, socket.gaierror) and number == socket.EAI_AGAIN:
        reason = "the name cannot be looked up for now"
    elif isinstance(error, BlockingIOError):
        reason = _BACKLOG_FULL
    else:
        reason = _REASONS.get(number or 0) or reason_of(error)
    return ConnectionLost(f"cannot connect to {address}: {reason}")


def tls_failed(address: Address, error: Exception) -> ConnectionLost:
    """No TLS with `address`."""
    return ConnectionLost(f"TLS with {address} failed: {error}")


def no_welcome(address: Address, timeout_s: float) -> ConnectionLost:
    """A connection, and neither WELCOME nor ERROR over it."""
    return ConnectionLost(f"{address} did not answer within {timeout_s:g} s")


def too_many_results() -> StateError:
    """A wait that cannot end: nothing more is received until results are read."""
    return StateError("waiting", "too many results are unread: read those of the receipts, or drop them")


def client_closed() -> ConnectionLost:
    """The end that `close` makes."""
    return ConnectionLost("this client was closed")


def interrupted() -> ConnectionLost:
    """A connection whose bytes were in motion when an exception came, as Ctrl-C raises it."""
    return ConnectionLost(
        "an exception, perhaps of a signal handler, interrupted it while bytes were in motion, so it was reset;"
        " make a new client, or use reconnect=True"
    )


def used_in_signal() -> StateError:
    """A call above another call of the same thread."""
    return StateError(
        "using the client in a signal handler or callback",
        "it has interrupted another call of the client: only close may be called there",
    )


def used_after_fork() -> StateError:
    """A call in the child of a fork."""
    return StateError(
        "using the client", "this process is a fork of the one that connected: make a new client"
    )


def no_token(error: Exception) -> ConnectionLost:
    """No connection again, as the token's callable failed: a file being replaced, a service that is down."""
    return ConnectionLost(f"no token could be had to make it again: {error!r}")


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


def no_change(timeout_s: float | None) -> TimeoutError:
    """A line that stays as it is in the caller's time."""
    return TimeoutError(f"the line has not changed for {timeout_s:g} s")


def no_rank(rank: int, timeout_s: float | None) -> TimeoutError:
    """A rank that has not come in the caller's time."""
    return TimeoutError(f"this client did not get rank {rank} within {timeout_s:g} s")
