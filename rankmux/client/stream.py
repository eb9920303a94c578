"""A connected socket, plain or TLS, that never blocks.

It knows nothing of the meaning of its bytes.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
from contextlib import suppress

from .forks import close_in_children

__all__ = ["Stream"]

_RECEIVE_BYTES = 64 * 1024  # over 16 KiB, a TLS record; under 128 KiB, or it is fresh memory of the kernel
_SEND_BYTES = 64 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, and no time


class Stream:
    """Receives and sends as much as is possible now; `waits_for_write` is True while more waits for writability.

    `head`: the bytes given to `send` and not sent yet; TLS must try exactly these again. `wants_write_to_read`: TLS has
    to write before it can read on. `closed`: by this side.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self._pid = os.getpid()
        self.head = b""
        self.wants_write_to_read = False
        self._wake_at = 1
        self.closed = False
        close_in_children(self)

    def fileno(self) -> int:
        """The descriptor to wait on; -1 when closed."""
        return self._socket.fileno()

    @property
    def waits_for_write(self) -> bool:
        """Whether writability is worth waiting for."""
        return bool(self.head) or self.wants_write_to_read

    @property
    def is_tls(self) -> bool:
        """Whether the bytes go through TLS."""
        return self._tls is not None

    @property
    def has_buffered_input(self) -> bool:
        """Whether TLS holds decrypted bytes, which readiness does not show."""
        return self._tls is not None and self._tls.pending() > 0

    def receive(self) -> bytes | None:
        """The bytes that have arrived; None when there are none, `b""` at the end of the stream. Raises OSError."""
        self.wants_write_to_read = False
        try:
            return self._socket.recv(_RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLWantWriteError:
            self.wants_write_to_read = True
            return None
        except ssl.SSLEOFError:
            return b""  # an end without TLS's close_notify; frames carry their length, so truncation shows

    def wake_at(self, size: int) -> None:
        """Show readiness to read only once `size` bytes have arrived, or the end; more for a system that cannot."""
        if size != self._wake_at:
            # Never less than what is set, should a signal handler raise in between.
            self._wake_at = max(size, self._wake_at)
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
            self._wake_at = size

    def send(self, data: bytes) -> bool:
        """Send `data`, or the head that is left when `data` is empty; True if all of it went. Raises OSError."""
        if data:
            assert not self.head, "the head goes first"
            self.head = data
        while self.head:
            chunk = self.head[:_SEND_BYTES]
            try:
                sent = self._socket.send(chunk)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return False
            self.head = self.head[sent:]
        return True

    def close(self, *, for_all: bool = True) -> None:
        """Close at once; a second call does nothing. In a forked child the parent's connection stays as it is.

        Copies of the descriptor in other processes keep nothing open, unless this is not `for_all`.
        """
        if not self.closed:
            self.closed = True
            if for_all and self._pid == os.getpid():
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def reset(self) -> None:
        """Close at once with a reset, so that half a frame on the wire is not taken for a clean end."""
        if not self.closed and self._pid == os.getpid():
            self.closed = True
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._socket.close()
