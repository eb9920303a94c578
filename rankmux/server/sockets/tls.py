"""TLS on the server's loop: a non-blocking TLS socket and its contexts. Knows no protocol.

`TlsSocket` behaves like a plain non-blocking socket, with three differences: a call may wait for the other kind of
readiness (`read_on`, `write_on`); bytes may be decrypted but not yet read (`pending`); and after a partial `send` the
same bytes must be passed again, because OpenSSL has already encrypted them.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress

from ...config import Config
from ...errors import ConfigError
from ...system.reactor import READABLE, WRITABLE
from ...system.small_files import PEM_MAX_BYTES, check_small
from .transport import reset_on_close

__all__ = ["TlsSocket", "certificate_names", "make_context"]


class TlsSocket:
    """The server's end of TLS over the non-blocking `sock`, which it takes over.

    Calls raise BlockingIOError when they must be repeated, and OSError otherwise, with EPROTO for errors of TLS itself.
    """

    __slots__ = ("_sock", "handshaking", "read_on", "write_on")

    direct = False
    must_repeat = True
    offer_bytes = 16_384  # one record: what is offered again after it was not taken stays small
    read_bytes = 65_536  # at least a record, or its rest stays inside where no selector sees it

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        try:
            sock.getpeername()  # if the peer is gone already, ssl would leak its own socket
            self._sock = context.wrap_socket(
                sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
            )
        except (OSError, ValueError) as error:  # wrap_socket checks for a lost connection and for early bytes
            raise _plain(error) from None
        finally:
            sock.close()  # whatever has become of it: the descriptor is not its any more
        self.handshaking = True
        self.read_on = READABLE
        self.write_on = WRITABLE

    def fileno(self) -> int:
        """The descriptor."""
        return self._sock.fileno()

    def handshake(self) -> int:
        """As of Transport."""
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            return READABLE
        except ssl.SSLWantWriteError:
            return WRITABLE
        except (OSError, ValueError) as error:
            raise _plain(error) from None
        self.handshaking = False
        return 0

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end of the stream."""
        try:
            data = self._sock.recv(size)
        except ssl.SSLWantReadError:
            self.read_on = READABLE
            raise BlockingIOError from None
        except ssl.SSLWantWriteError:
            self.read_on = WRITABLE
            raise BlockingIOError from None
        except (OSError, ValueError) as error:
            raise _plain(error) from None
        self.read_on = READABLE
        if not data:
            self._end_or_reset()
        return data

    def recv_into(self, buffer: memoryview) -> int:
        """Like `recv`, into a buffer."""
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def sendmsg(self, views: Iterable[memoryview]) -> int:
        """Send `views`, at most one record; returns the number of bytes sent."""
        return self.send(b"".join(views))

    def send(self, data: bytes | memoryview) -> int:
        """Like `sendmsg`, for one buffer."""
        try:
            sent = self._sock.send(data)
        except ssl.SSLWantWriteError:
            self.write_on = WRITABLE
            raise BlockingIOError from None
        except ssl.SSLWantReadError:
            self.write_on = READABLE
            raise BlockingIOError from None
        except ssl.SSLEOFError:  # not an error of TLS: the connection is gone
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from None
        except (OSError, ValueError) as error:
            raise _plain(error) from None
        self.write_on = WRITABLE
        return sent

    def _end_or_reset(self) -> None:
        """Raise ECONNRESET after a reset: CPython up to 3.12 reports it as an end of stream, but has no peer then."""
        try:
            self._sock.getpeername()
        except OSError:
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from None

    def pending(self) -> int:
        """The number of bytes decrypted but not yet read."""
        return self._sock.pending()

    def peer_names(self) -> frozenset[str]:
        """The names in the peer's certificate, if it presented one."""
        return certificate_names(self._sock.getpeercert())

    def set_send_buffer(self, size: int) -> None:
        """As of Transport."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def reset_on_close(self) -> None:
        """As of Transport."""
        reset_on_close(self._sock)

    def shutdown(self, how: int) -> None:
        """End our stream, in TLS and in TCP. Bytes read from now on are not decrypted, only discarded."""
        with suppress(OSError, ValueError):
            self._sock.unwrap()  # sends close_notify; we do not wait for the peer's
        self._sock.shutdown(how)

    def close(self) -> None:
        """As of socket.socket."""
        self._sock.close()


def make_context(config: Config, *, pipes: bool = False) -> ssl.SSLContext | None:
    """The context for `tls_cert`, None without one. Raises ConfigError for a file that is missing or invalid.

    `pipes`: as of `read_small`.
    """
    if not config.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # Else OpenSSL 3 answers an end of stream without close_notify with an alert, and a half-closed peer gets no more.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    for key, path in (
        ("tls_cert", config.tls_cert),
        ("tls_key", config.tls_key),
        ("tls_client_ca", config.tls_client_ca),
    ):
        if path:
            _readable(key, path, pipes)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key or None, _no_password)
    except (OSError, ValueError) as error:
        expected = f"not a PEM file with a certificate and its key: {_text(error)}"
        raise ConfigError("tls_cert", config.tls_cert, expected) from None
    if config.tls_client_ca:
        try:
            context.load_verify_locations(config.tls_client_ca)
        except (OSError, ValueError) as error:
            expected = f"not a PEM file with certificates: {_text(error)}"
            raise ConfigError("tls_client_ca", config.tls_client_ca, expected) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def certificate_names(certificate: object) -> frozenset[str]:
    """The common name and the alternative names of a certificate as returned by `getpeercert`."""
    names: set[str] = set()
    if isinstance(certificate, dict):
        for relative in certificate.get("subject", ()):
            names.update(value for key, value in relative if key == "commonName")
        names.update(value for _, value in certificate.get("subjectAltName", ()))
    return frozenset(names)


def _readable(key: str, path: str, pipes: bool) -> None:
    """Raise ConfigError for a file that OpenSSL, which reads it, would wait for or not get to the end of."""
    try:
        check_small(path, PEM_MAX_BYTES, pipes=pipes)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(key, path, f"cannot read the file: {_text(error)}") from None


def _no_password() -> str:
    raise ValueError("the key is encrypted with a password")


def _plain(error: Exception) -> OSError:
    """`error` as an error of a plain socket, because the errno of an SSLError is not one of the system's."""
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return OSError(errno.EPROTO, _text(error))
    return error


def _text(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
