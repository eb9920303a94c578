"""The interface of a connection's byte stream, plain or TLS.

A plain socket has most of it by itself; `tls_socket.TlsSocket` puts it over TLS. Calls never block. Those that send
raise BlockingIOError when they have to be made again, all raise OSError when the stream is broken (EPROTO: TLS itself
found something wrong).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from ...system.reactor import READABLE, WRITABLE

__all__ = ["NON_BLOCKING_STREAM", "PlainSocket", "Transport", "reset_on_close"]

NON_BLOCKING_STREAM = int(socket.SOCK_STREAM) | getattr(socket, "SOCK_NONBLOCK", 0)
"""The type of a socket whose descriptor does not block already: no call is made for it."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Transport(Protocol):
    """A non-blocking byte stream over one descriptor."""

    @property
    def direct(self) -> bool:
        """Whether the hot loops may read and write the descriptor themselves: no layer lies between."""

    @property
    def handshaking(self) -> bool:
        """Whether `handshake` has to be called before anything else."""

    @property
    def read_on(self) -> int:
        """The readiness that the next `recv` waits for."""

    @property
    def write_on(self) -> int:
        """The readiness that the next `send` waits for."""

    @property
    def offer_bytes(self) -> int:
        """The most bytes that one `sendmsg` should be offered."""

    def fileno(self) -> int:
        """The descriptor."""

    def handshake(self) -> int:
        """Go on with the handshake: 0 when it is done, else the readiness that it waits for."""

    def peer_names(self) -> frozenset[str]:
        """The names in the peer's certificate, if it showed one."""

    def read(self, size: int, share: int, /) -> tuple[bytes | None, int]:
        """Up to `size` bytes, for at most so much of the turn's work on TLS, and the work that it took.

        The bytes are None when there are none yet, and empty at the end of the stream.
        """

    def at_end(self) -> bool:
        """Whether nothing but the end of the stream is left to read. Over TLS it is not known before reading."""

    def pending(self) -> int:
        """More than 0 if bytes that no selector tells of were received and not yet read."""

    def send(self, data: bytes | memoryview, /) -> int:
        """Send as much as is taken; the number of bytes."""

    def sendmsg(self, views: Iterable[memoryview], /) -> int:
        """As `send`, from several buffers."""

    @property
    def must_repeat(self) -> bool:
        """Whether bytes that were offered and not taken must be offered again exactly (TLS has encrypted them)."""

    def set_send_buffer(self, size: int) -> None:
        """Set the kernel's send buffer (SO_SNDBUF), in bytes."""

    def shutdown(self, how: int, /) -> None:
        """End our half of the stream."""

    def reset_on_close(self) -> None:
        """Have `close` end the stream with a reset: it may stop inside a frame."""

    def close(self) -> None:
        """Close the descriptor."""


class PlainSocket(socket.SocketType):
    """A socket without TLS: it has most of the face already.

    It is the socket type of the interpreter: what `socket.socket` adds costs memory and time for each connection.
    """

    __slots__ = ()

    direct = True
    handshaking = False
    read_on = READABLE
    write_on = WRITABLE
    offer_bytes = 256 * 1024
    must_repeat = False

    def handshake(self) -> int:
        """Nothing to do."""
        return 0

    def peer_names(self) -> frozenset[str]:
        """A plain connection shows no certificate."""
        return frozenset()

    def read(self, size: int, _: int) -> tuple[bytes | None, int]:
        """As of Transport."""
        try:
            return self.recv(size), 0
        except (BlockingIOError, InterruptedError):
            return None, 0

    def at_end(self) -> bool:
        """As of Transport."""
        try:
            return not self.recv(1, socket.MSG_PEEK)
        except OSError:
            return False

    def pending(self) -> int:
        """The selector tells of all of them."""
        return 0

    def set_send_buffer(self, size: int) -> None:
        """As of Transport."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def reset_on_close(self) -> None:
        """As of Transport."""
        reset_on_close(self)


def reset_on_close(sock: socket.SocketType) -> None:
    """Have the close of `sock` send a reset; nothing to do when the connection is broken already."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
