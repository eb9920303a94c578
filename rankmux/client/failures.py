"""The failures that both clients report, worded once.

The functions return exceptions, for the caller to raise.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from os import fspath

from ..errors import CannotConnect, ConnectionLost, StateError
from ..system.reasons import socket_reason, unix_reason
from .address import Address

__all__ = [
    "TLS_ERRORS",
    "client_closed",
    "cure_of",
    "has_another_name",
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
    "tls_reason",
    "too_many_results",
    "unreachable",
    "used_after_fork",
    "used_in_signal",
]

TLS_ERRORS = (OSError, ValueError)
"""The errors of a handshake: ValueError for a certificate that does not match, and for a context made for servers."""


def reason_of(error: Exception) -> str:
    """The text of a socket's error, for ConnectionLost."""
    if isinstance(error, ssl.SSLError):
        return tls_reason(error)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


_BACKLOG_FULL = "its queue of new connections is full"
_TIMED_OUT = "no answer in time; is the address right, and does no firewall drop its packets?"


def unreachable(address: Address, error: Exception) -> CannotConnect:
    """No connection to `address`."""
    path = None if address.unix is None else fspath(address.unix)
    if isinstance(error, BlockingIOError):
        reason = _BACKLOG_FULL
    elif isinstance(error, TimeoutError):
        reason = _TIMED_OUT
    elif path is not None and isinstance(error, OSError):
        reason = unix_reason(path, error)
    elif isinstance(error, ConnectionRefusedError):
        return CannotConnect(f"nobody listens at {address}: is rankmux-server running there?")
    elif isinstance(error, PermissionError):  # as of a broadcast address, or of a firewall here
        reason = "this system does not permit connections there"
    else:
        reason = socket_reason(error)
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        reason += "; is rankmux-server running there?"
    return CannotConnect(f"cannot connect to {address}: {reason}")


_FOREIGN = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}
"""OpenSSL's reasons for bytes that are no TLS at all."""
_NOT_NOW = {
    9: "it is not valid yet; are the clocks of both machines right?",
    10: "it has expired; the server needs a new one",
}
_UNTRUSTED = {
    18: "it is signed by itself, not by an authority trusted here",
    19: "it is signed by itself, not by an authority trusted here",
    20: "no authority trusted here has signed it",
    21: "no authority trusted here has signed it",
}
"""By the codes of X509_verify_cert, as the one above."""
_OTHER_NAME = (62, 64)  # a host, an IP address


def has_another_name(error: Exception) -> bool:
    """Whether a certificate was refused for its names alone."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _OTHER_NAME


def tls_failed(address: Address, error: Exception, names: Sequence[str] = ()) -> CannotConnect:
    """No TLS with `address`; `names` are those that its certificate has, where that is known."""
    if isinstance(error, TimeoutError):
        return CannotConnect(f"{address} did not answer the TLS handshake in time; does it speak TLS?")
    if has_another_name(error):
        wanted = address.server_hostname or address.host
        text = f"the certificate of {address} is not for {wanted}"
        if names:
            return CannotConnect(f"{text}, it is for {', '.join(names)}", "name")
        return CannotConnect(text, "names")
    if isinstance(error, ssl.SSLCertVerificationError):
        untrusted = _UNTRUSTED.get(error.verify_code)
        reason = untrusted or _NOT_NOW.get(error.verify_code) or error.verify_message or "it is not valid"
        cure = "authority" if untrusted else ""
        return CannotConnect(f"the certificate of {address} is refused, {reason}", cure)
    if isinstance(error, ssl.SSLError) and error.reason in _FOREIGN:
        return CannotConnect(f"the server at {address} speaks plain TCP", "plain")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError):
        return CannotConnect(f"{address} broke off the TLS handshake, perhaps it speaks plain TCP", "plain")
    return CannotConnect(f"TLS with {address} failed: {tls_reason(error)}")


_ALERTS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server requires a client certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not trust the authority of this client's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server refuses this client's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the server refuses this client's certificate, it has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the server refuses this client's certificate, it is revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the server refuses this client's certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the server refuses this client's certificate, it is of another kind",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server accepts no version of TLS that this client offers",
}
"""What the other end says by an alert, by the names of OpenSSL."""


def tls_reason(error: Exception) -> str:
    """An error of TLS, without OpenSSL's line numbers."""
    name = (error.reason if isinstance(error, ssl.SSLError) else None) or ""
    if name in _ALERTS:
        return _ALERTS[name]
    return name.replace("_", " ").lower() or socket_reason(error)


def cure_of(error: Exception) -> str:
    """The cure, as of CannotConnect, for an error of a stream that was to bring WELCOME."""
    required = isinstance(error, ssl.SSLError) and error.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    return "certificate" if required else ""


def no_welcome(address: Address | str, timeout_s: float) -> CannotConnect:
    """A connection, and neither WELCOME nor ERROR over it."""
    return CannotConnect(f"{address} did not answer within {timeout_s:g} s; is it a rankmux server?")


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
