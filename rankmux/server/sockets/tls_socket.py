"""TLS on the server's loop: a non-blocking socket whose ciphertext goes through memory. Knows no protocol above it.

OpenSSL never sees the descriptor. It gets whole records, and no more of them in a call than the caller allows: one call
into it may otherwise go on for as long as a peer sends records that carry no data (KeyUpdate, or one byte in each).
A call may wait for the other kind of readiness (`read_on`, `write_on`); records may have been received and not opened
(`pending`); after a partial `send` the same bytes must be passed again, because they have been encrypted already.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress

from ...system.reactor import READABLE, WRITABLE
from .transport import reset_on_close

__all__ = ["TlsSocket", "certificate_names", "plain_error", "plain_text"]

_HEAD_BYTES = 5  # of a record: its type, the version, the length (RFC 8446, section 5.1)
_TYPES = range(20, 25)
_BODY_MAX_BYTES = 16_384 + 2048  # of TLS 1.2; those of 1.3 are shorter
_RECORD_MAX_BYTES = _HEAD_BYTES + _BODY_MAX_BYTES
_HANDSHAKE_RECORDS = 64  # in one step of a handshake
_FOREIGN = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})
_NO_TLS = bytes((21, 3, 3, 0, 2, 2, 70))  # a record with a fatal alert: protocol_version
_WORK = 4  # of opening a record, as frames count (`core.room.batch`): some 4 microseconds
_BARE_WORK = 24  # of a record that brings no data: most likely a KeyUpdate, for which keys are derived


class TlsSocket:
    """The server's end of TLS over the non-blocking `sock`, which it takes over.

    Calls raise BlockingIOError when they must be repeated, and OSError otherwise, with EPROTO for errors of TLS itself.
    """

    __slots__ = (
        "_at_end",
        "_ended",
        "_error",
        "_incoming",
        "_offered",
        "_outgoing",
        "_received",
        "_sock",
        "_tls",
        "_unsent",
        "_write_error",
        "handshaking",
        "read_on",
        "write_on",
    )

    direct = False
    must_repeat = True
    offer_bytes = 16_384  # one record: what is offered again after it was not taken stays small

    def __init__(self, sock: socket.SocketType, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._received = bytearray()  # ciphertext that OpenSSL has not been given
        self._unsent = bytearray()  # ciphertext that the kernel has not taken
        self._offered = 0  # bytes of the caller's that are among it
        self._ended = False  # of TCP
        self._at_end = False  # the end of the stream is the next thing to be read
        # To be raised by the next call: bytes that came before it are read first.
        self._error: OSError | None = None
        # Met while reading, which goes on; the next `send` raises it.
        self._write_error: OSError | None = None
        self.handshaking = True
        self.read_on = READABLE
        self.write_on = WRITABLE

    def fileno(self) -> int:
        """The descriptor."""
        return self._sock.fileno()

    def handshake(self) -> int:
        """As of Transport. At most _HANDSHAKE_RECORDS are opened in a call."""
        assert self._tls is not None
        left = _HANDSHAKE_RECORDS
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except (OSError, ValueError) as error:
                if getattr(error, "reason", None) in _FOREIGN:
                    self._unsent += _NO_TLS  # OpenSSL says nothing to a peer that speaks no TLS
                with suppress(OSError):
                    self._flush()  # the alert
                raise plain_error(error) from None
            else:
                self.handshaking = False
                self.read_on = READABLE if self._flush() else WRITABLE
                return 0
            if not self._flush():
                return WRITABLE
            given = self._give(left) if left else 0
            if not given:
                return READABLE
            left -= given

    def read(self, size: int, share: int) -> tuple[bytes | None, int]:
        """As of Transport."""
        if self._tls is None:  # behind our end of the stream bytes are only discarded
            return _receive(self._sock, size), 0
        if self._error is not None:
            raise self._error
        if self._at_end:
            self._at_end = False
            return b"", 0
        if not self._try_flush():  # a peer whose records are answered must take the answers first
            self.read_on = WRITABLE
            return None, 0
        self.read_on = READABLE
        parts: list[bytes] = []
        left, work, bare = size, 0, 0
        try:
            while left > 0:
                try:
                    data = self._tls.read(left)
                except ssl.SSLWantReadError:
                    work += bare * (_BARE_WORK - _WORK)
                    bare = self._give(max(1, (share - work) // _BARE_WORK)) if work < share else 0
                    if not bare:
                        break
                    work += bare * _WORK
                    continue
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    data = b""
                if not data:
                    self._at_end = bool(parts)
                    return b"".join(parts), work
                parts.append(data)
                left -= len(data)
                bare = max(0, bare - 1)
        except (OSError, ValueError) as error:
            self._error = plain_error(error)
            if not parts:
                raise self._error from None
            return b"".join(parts), work
        if not self._try_flush():
            self.read_on = WRITABLE
        return (b"".join(parts) if parts else None), work

    def at_end(self) -> bool:
        """As of Transport."""
        return False

    def pending(self) -> int:
        """As of Transport."""
        if self._tls is None:
            return 0
        held = self._tls.pending() + self._incoming.pending + (self._error is not None) + self._at_end
        return held or self._takeable(1)[0]

    def send(self, data: bytes | memoryview) -> int:
        """Send up to one record; the number of bytes, once all of it was taken."""
        assert self._tls is not None
        if self._write_error is not None:
            raise self._write_error
        if not self._offered:
            try:
                self._offered = self._tls.write(data)
            except ssl.SSLWantReadError:
                self.write_on = READABLE
                raise BlockingIOError from None
            except ssl.SSLEOFError:  # not an error of TLS: the connection is gone
                raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from None
            except (OSError, ValueError) as error:
                raise plain_error(error) from None
        self.write_on = WRITABLE
        if not self._flush():
            raise BlockingIOError
        sent, self._offered = self._offered, 0
        return sent

    def sendmsg(self, views: Iterable[memoryview]) -> int:
        """As `send`, from several buffers."""
        return self.send(b"".join(views))

    def peer_names(self) -> frozenset[str]:
        """The names in the peer's certificate, if it presented one."""
        return certificate_names(self._tls.getpeercert() if self._tls is not None else None)

    def set_send_buffer(self, size: int) -> None:
        """As of Transport."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def reset_on_close(self) -> None:
        """As of Transport."""
        reset_on_close(self._sock)

    def shutdown(self, how: int) -> None:
        """End our stream, in TLS and in TCP. Bytes read from now on are not decrypted, only discarded."""
        with suppress(OSError, ValueError):
            if self._tls is not None:
                self._tls.unwrap()  # writes close_notify; we do not wait for the peer's
        self._tls = None
        with suppress(OSError):
            self._flush()
        self._received.clear()
        self._sock.shutdown(how)

    def close(self) -> None:
        """As of socket.socket."""
        self._sock.close()

    def _give(self, records: int) -> int:
        """Give OpenSSL up to so many whole records, received now or before; returns how many, 0 when there is none."""
        size, count = self._takeable(records)
        while not size:
            if self._ended:
                return 0
            data = _receive(self._sock, _RECORD_MAX_BYTES)
            if data is None:
                return 0
            if not data:
                self._ended = True
                self._incoming.write(self._received)
                self._received.clear()
                self._incoming.write_eof()
                return 1
            self._received += data
            size, count = self._takeable(records)
        with memoryview(self._received) as received:
            self._incoming.write(received[:size])
        del self._received[:size]
        return count

    def _takeable(self, records: int) -> tuple[int, int]:
        """How many bytes, and records, of the received ones OpenSSL may be given: whole records, up to so many.

        Bytes that are no TLS are given as they are, for OpenSSL to say what is wrong.
        """
        received, end, at, count = self._received, len(self._received), 0, 0
        while count < records and at < end:
            if received[at] not in _TYPES or (end - at > 1 and received[at + 1] != 3):
                return end, count + 1
            if end - at < _HEAD_BYTES:
                break
            size = received[at + 3] << 8 | received[at + 4]
            if size > _BODY_MAX_BYTES:
                return end, count + 1
            if end - at < _HEAD_BYTES + size:
                break
            at += _HEAD_BYTES + size
            count += 1
        return at, count

    def _try_flush(self) -> bool:
        """As `_flush`; an error is kept for `send`, since whatever the peer sent before it still counts."""
        try:
            return self._write_error is not None or self._flush()
        except OSError as error:
            self._write_error = error
            return True

    def _flush(self) -> bool:
        """Send the ciphertext that is ready; whether all of it was taken."""
        if self._outgoing.pending:
            self._unsent += self._outgoing.read()
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except (BlockingIOError, InterruptedError):
                return False
            del self._unsent[:sent]
        return True


def certificate_names(certificate: object) -> frozenset[str]:
    """The common name and the alternative names of a certificate as returned by `getpeercert`."""
    names: set[str] = set()
    if isinstance(certificate, dict):
        for relative in certificate.get("subject", ()):
            names.update(value for key, value in relative if key == "commonName")
        names.update(value for _, value in certificate.get("subjectAltName", ()))
    return frozenset(names)


def plain_error(error: Exception) -> OSError:
    """`error` as an error of a plain socket, because the errno of an SSLError is not one of the system's."""
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return OSError(errno.EPROTO, plain_text(error))
    return error


def plain_text(error: Exception) -> str:
    """What went wrong, in the words of OpenSSL or of the system."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _receive(sock: socket.SocketType, size: int) -> bytes | None:
    """Bytes from the plain socket; None when there are none yet."""
    try:
        return sock.recv(size)
    except (BlockingIOError, InterruptedError):
        return None
