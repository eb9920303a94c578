"""Connecting to the first of several addresses that answers, and TLS over it, step by step and without waiting.

Both clients wait in their own way between the steps. So one rule holds for both: which address is tried when, and which
refusals are for now.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from os import fspath
from typing import Any

from .address import Address

__all__ = [
    "Dialer",
    "Place",
    "handshake_steps",
    "names_of",
    "place_of_unix",
    "places_of",
    "prepared",
    "with_any_name",
]

Place = tuple[int, Any]
"""A family, and an address of it."""

_NEXT_ADDRESS_S = 0.25  # until the next address of a name is tried beside the one before it (RFC 8305)
_BACKLOG_S = 0.02  # between two attempts at a Unix socket whose backlog is full: it cannot be waited for
_UNDER_WAY = frozenset((errno.EINPROGRESS, errno.EALREADY, errno.EINTR))
_CONNECTED = frozenset((0, errno.EISCONN))


def places_of(found: list[tuple[Any, ...]]) -> list[Place]:
    """The places in what getaddrinfo has found."""
    return [(family, to) for family, _, _, _, to in found]


def place_of_unix(address: Address) -> Place:
    """The place of a Unix socket."""
    assert address.unix is not None
    return socket.AF_UNIX, fspath(address.unix)


class Dialer:
    """Tries `places`, each a little after the one before it, or at once when that has failed.

    So an address that drops packets does not keep the others from being tried. Call `step` until it gives a socket, and
    wait for one of `sockets` to become writable in between, for `wait_s()` at most. `close` it in the end.
    """

    def __init__(self, places: list[Place], clock: Callable[[], float]) -> None:
        self._left = deque(places)
        self._clock = clock
        self._running: dict[socket.socket, Any] = {}
        self._full: set[socket.socket] = set()  # the server's backlog is; nothing tells when it no longer is
        self._next_at_s = 0.0
        self._errors: list[OSError] = []

    @property
    def sockets(self) -> list[socket.socket]:
        """Those of the attempts under way that become writable when they have an outcome."""
        return [sock for sock in self._running if sock not in self._full]

    def wait_s(self) -> float | None:
        """The seconds until the next step is due in any case; None: only the sockets count."""
        waits = [_BACKLOG_S] if self._full else []
        if self._left:
            waits.append(max(0.0, self._next_at_s - self._clock()))
        return min(waits, default=None)

    def step(self) -> socket.socket | None:
        """The socket that is connected, or None for now. Raises OSError when no address is left."""
        while True:
            for sock, to in list(self._running.items()):
                if self._connects(sock, to):
                    return sock
            if not self._left or (self._running and self._clock() < self._next_at_s):
                break
            family, to = self._left.popleft()
            self._next_at_s = self._clock() + _NEXT_ADDRESS_S
            self._begin(family, to)
        if not self._running:
            raise self.reason()
        return None

    def reason(self) -> OSError:
        """The error to report: one that says more than that nobody listens, if there is one."""
        if not self._running and not self._errors:
            return OSError("the name has no address")
        if self._full:
            return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if self._running:
            return TimeoutError("timed out")
        telling = [e for e in self._errors if not isinstance(e, ConnectionRefusedError | FileNotFoundError)]
        return (telling or self._errors)[-1]

    def close(self) -> None:
        """Give up the attempts under way."""
        while self._running:
            self._running.popitem()[0].close()

    def _begin(self, family: int, to: Any) -> None:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            self._errors.append(error)
            return
        self._running[sock] = to
        sock.setblocking(False)

    def _connects(self, sock: socket.socket, to: Any) -> bool:
        self._full.discard(sock)
        try:
            code = sock.connect_ex(to)
        except OSError as error:  # an address that no socket can have
            code, failure = -1, error
        else:
            failure = OSError(code, os.strerror(code))
        if code in _CONNECTED:
            del self._running[sock]
            return True
        if code == errno.EAGAIN:
            self._full.add(sock)
        elif code not in _UNDER_WAY:
            del self._running[sock]
            sock.close()
            self._errors.append(failure)
        return False


def prepared(sock: socket.socket, address: Address) -> socket.socket:
    """A connected socket, with TLS over it if `address` asks for that, whose handshake is still to be done."""
    if address.unix is None:
        with suppress(OSError):  # it is reset already, which shows when it is used
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.ssl_context is None:
        return sock
    name = address.server_hostname or address.host
    return address.ssl_context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)


def with_any_name(address: Address) -> Address | None:
    """`address` for a look at a certificate whose names were refused; its authority has to be trusted all the same.

    None if nothing is known of the authorities.
    """
    assert address.ssl_context is not None
    authorities = address.ssl_context.get_ca_certs(binary_form=True)
    if not authorities:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=b"".join(authorities))
    return replace(address, ssl_context=context)


def names_of(sock: socket.socket) -> list[str]:
    """The names in the certificate of the server at the other end of `sock`."""
    certificate: dict[str, Any] = (isinstance(sock, ssl.SSLSocket) and sock.getpeercert()) or {}
    return [str(value) for _, value in certificate.get("subjectAltName", ())]


def handshake_steps(sock: socket.socket) -> Iterator[int]:
    """Do the TLS handshake, if there is one; yields the selector's event to wait for. Raises TLS_ERRORS."""
    while isinstance(sock, ssl.SSLSocket):
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            yield selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            yield selectors.EVENT_WRITE
        else:
            return
