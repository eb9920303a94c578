"""Opening a connection to a server (TCP, TLS over it, or a Unix socket), and moving bytes over it without blocking.

It knows addresses, sockets and TLS, and nothing of what the bytes mean.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike, fspath

from ..core.wire.codes import DEFAULT_PORT
from ..errors import ConnectionLost

__all__ = ["TLS_ERRORS", "Address", "Stream", "connected_socket", "tls_failed", "unreachable"]

_RECEIVE_BYTES = 256 * 1024  # over 16 KiB, a whole TLS record
_SEND_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is: `host` and `port`, or the path `unix`; with `ssl_context`, TLS from byte 0.

    `server_hostname` is the name that the certificate must have; `host` unless given.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    unix: str | PathLike[str] | None = None
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None

    def __str__(self) -> str:
        if self.unix is not None:
            return fspath(self.unix)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


TLS_ERRORS = (OSError, ValueError)
"""What a handshake raises; ValueError for a certificate that does not match, and for a context made for servers."""


def unreachable(address: Address, error: Exception) -> ConnectionLost:
    """Why there is no connection to `address`, with what to look at."""
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return ConnectionLost(f"nobody listens at {address}: is rankmux-server running there?")
    return ConnectionLost(f"{address} cannot be reached: {getattr(error, 'strerror', None) or error}")


def tls_failed(address: Address, error: Exception) -> ConnectionLost:
    """Why there is no TLS with `address`."""
    return ConnectionLost(f"TLS with {address} failed: {error}")


def connected_socket(address: Address, timeout_s: float | None) -> socket.socket:
    """A socket connected to `address`, its TLS handshake done. Raises ConnectionLost, with what to look at."""
    try:
        if address.unix is not None:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.settimeout(timeout_s)
                sock.connect(fspath(address.unix))
            except BaseException:
                sock.close()
                raise
        else:
            sock = socket.create_connection((address.host, address.port), timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, UnicodeError) as error:
        raise unreachable(address, error) from error
    if address.ssl_context is None:
        return sock
    try:
        return address.ssl_context.wrap_socket(sock, server_hostname=address.server_hostname or address.host)
    except TLS_ERRORS as error:
        sock.close()
        raise tls_failed(address, error) from error
    except BaseException:
        sock.close()
        raise


class Stream:
    """A connected socket that never blocks: what can be done now is done, the rest is said in `waits_for_write`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._head = b""
        self._tls_wants_write = False
        self.closed = False

    def fileno(self) -> int:
        """The descriptor to wait on; -1 when closed."""
        return self._socket.fileno()

    @property
    def head(self) -> bytes:
        """What was given to `send` and is not sent yet. Under TLS exactly this must be tried again."""
        return self._head

    @property
    def waits_for_write(self) -> bool:
        """Whether writability is worth waiting for."""
        return bool(self._head) or self._tls_wants_write

    @property
    def has_buffered_input(self) -> bool:
        """Whether TLS holds decrypted bytes, of which readiness says nothing."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def receive(self) -> bytes | None:
        """What has arrived; None when nothing has, `b""` at the end of the stream. Raises OSError."""
        self._tls_wants_write = False
        try:
            return self._socket.recv(_RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLWantWriteError:
            self._tls_wants_write = True
            return None
        except ssl.SSLEOFError:
            return b""  # an end without TLS's goodbye; the frames say by themselves whether they are whole

    def send(self, data: bytes) -> bool:
        """Send `data`, or the head that is left when `data` is empty; whether all of it went. Raises OSError."""
        if data:
            assert not self._head, "the head goes first"
            self._head = data
        while self._head:
            chunk = self._head[:_SEND_BYTES]
            try:
                sent = self._socket.send(chunk)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return False
            self._head = self._head[sent:]
        return True

    def close(self) -> None:
        """Close at once; a second time does nothing."""
        if not self.closed:
            self.closed = True
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
