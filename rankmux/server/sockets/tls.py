"""TLS inside the same loop: a socket that speaks it, the contexts, the handshakes, so many a turn. Knows no protocol.

`TlsSocket` behaves as a non-blocking plain socket where that is possible. What differs: each call may want the other
readiness than its own (`read_on`, `write_on`), bytes may be decrypted and not yet read (`pending`), and what a `send`
was offered must be offered again, exactly, until it is taken: OpenSSL has encrypted it already.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ...config import Config
from ...errors import ConfigError
from ...system.reactor import READABLE, WRITABLE
from .transport import reset_on_close

__all__ = ["TlsSocket", "certificate_names", "make_context"]


class TlsSocket:
    """A server's end of TLS over `sock`, which must be non-blocking; it belongs to this object from now on.

    Calls raise BlockingIOError when they have to be made again, and OSError otherwise; EPROTO stands for what TLS
    itself found wrong.
    """

    __slots__ = ("_sock", "handshaking", "read_on", "write_on")

    direct = False
    must_repeat = True
    offer_bytes = 16_384  # one record: what is offered again after it was not taken stays small
    read_bytes = 65_536  # at least a record, or its rest stays inside where no selector sees it

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        try:
            sock.getpeername()  # of one that is gone already, ssl would leave its own socket open
            self._sock = context.wrap_socket(
                sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
            )
        except (
            OSError,
            ValueError,
        ) as error:  # it looks whether the connection still stands, and for early bytes
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
        """As `recv`, for who reads plain sockets so."""
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def sendmsg(self, views: Iterable[memoryview]) -> int:
        """Send the `views`, one record at most; returns how many bytes were taken."""
        return self.send(b"".join(views))

    def send(self, data: bytes | memoryview) -> int:
        """As `sendmsg`, in one piece."""
        try:
            sent = self._sock.send(data)
        except ssl.SSLWantWriteError:
            self.write_on = WRITABLE
            raise BlockingIOError from None
        except ssl.SSLWantReadError:
            self.write_on = READABLE
            raise BlockingIOError from None
        except ssl.SSLEOFError:  # nothing that TLS found wrong: the connection does not stand any more
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from None
        except (OSError, ValueError) as error:
            raise _plain(error) from None
        self.write_on = WRITABLE
        return sent

    def _end_or_reset(self) -> None:
        """CPython up to 3.12 shows a reset as an end of stream; only after the reset there is no peer any more."""
        try:
            self._sock.getpeername()
        except OSError:
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from None

    def pending(self) -> int:
        """Bytes that are decrypted and not yet read."""
        return self._sock.pending()

    def peer_names(self) -> frozenset[str]:
        """The names in the peer's certificate, if it showed one."""
        return certificate_names(self._sock.getpeercert())

    def set_send_buffer(self, size: int) -> None:
        """As of Transport."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def reset_on_close(self) -> None:
        """As of Transport."""
        reset_on_close(self._sock)

    def shutdown(self, how: int) -> None:
        """Say the end of our stream, in TLS as in TCP. What is read from now on is not decrypted, it is for the bin."""
        with suppress(OSError, ValueError):
            self._sock.unwrap()  # sends close_notify, then wants to read the peer's, for which we do not wait
        self._sock.shutdown(how)

    def close(self) -> None:
        """As of socket.socket."""
        self._sock.close()


def make_context(config: Config) -> ssl.SSLContext | None:
    """The context for `tls_cert`, None without one. Raises ConfigError when a file is not what it has to be."""
    if not config.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # Else OpenSSL 3 answers an end without a goodbye with an alert, and sends nothing more to who has half closed.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    for key, path in (
        ("tls_cert", config.tls_cert),
        ("tls_key", config.tls_key),
        ("tls_client_ca", config.tls_client_ca),
    ):
        if path:
            _readable(key, path)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key or None, _no_password)
    except (OSError, ValueError) as error:
        expected = f"a PEM file with a certificate and its key is expected ({_text(error)})"
        raise ConfigError("tls_cert", config.tls_cert, expected) from None
    if config.tls_client_ca:
        try:
            context.load_verify_locations(config.tls_client_ca)
        except (OSError, ValueError) as error:
            expected = f"a PEM file with certificates is expected ({_text(error)})"
            raise ConfigError("tls_client_ca", config.tls_client_ca, expected) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def certificate_names(certificate: object) -> frozenset[str]:
    """The names in a certificate as `getpeercert` gives it: its common name and its alternative names."""
    names: set[str] = set()
    if isinstance(certificate, dict):
        for relative in certificate.get("subject", ()):
            names.update(value for key, value in relative if key == "commonName")
        names.update(value for _, value in certificate.get("subjectAltName", ()))
    return frozenset(names)


def _readable(key: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ConfigError(key, path, f"a file that can be read is expected ({error.strerror})") from None


def _no_password() -> str:
    raise ValueError("the key is encrypted, there is nobody to ask for its password")


def _plain(error: Exception) -> OSError:
    """As an error of a plain socket: the numbers of ssl's own errors mean something else there."""
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return OSError(errno.EPROTO, _text(error))
    return error


def _text(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
