"""The addresses of a room's servers: TCP, TLS over it, or a Unix socket."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike, fspath

from ..core.wire.codes import DEFAULT_PORT
from ..errors import ArgumentError

__all__ = ["Address", "Addresses", "addresses_of"]

_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address: `host` and `port`, or the path `unix`; with `ssl_context`, TLS from byte 0.

    `server_hostname` is the name that the certificate must have; `host` unless given.
    """

    host: str = _HOST
    port: int = DEFAULT_PORT
    unix: str | PathLike[str] | None = None
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None

    def __str__(self) -> str:
        if self.unix is not None:
            return fspath(self.unix)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Addresses:
    """The servers of one room, tried in turns from one that `draw(number)` chooses."""

    def __init__(self, addresses: Sequence[Address], draw: Callable[[int], int] = random.randrange) -> None:
        self._addresses = addresses
        self._at = draw(len(addresses))

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def current(self) -> Address:
        """The one that is tried next, or connected to."""
        return self._addresses[self._at]

    def turn(self) -> None:
        """Go on to the next one."""
        self._at = (self._at + 1) % len(self._addresses)


def addresses_of(
    host: str | Sequence[str],
    port: int,
    unix: str | PathLike[str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> Addresses:
    """The addresses in `host`: several with commas between them or in a list, each with a port of its own or `port`.

    Or that of the socket `unix`, if host and port are the default ones. Raises ArgumentError.
    """
    _check_tls(ssl_context, server_hostname)
    if unix is not None:
        if (host, port) != (_HOST, DEFAULT_PORT):
            raise ArgumentError("unix", unix, "expected it without a host and a port")
        return Addresses([Address(_HOST, port, unix, ssl_context, server_hostname)])
    texts = host.split(",") if isinstance(host, str) else list(host)
    places = [_place(text.strip(), port) for text in texts]
    if not places:
        raise ArgumentError("host", host, "expected at least one address")
    return Addresses([Address(*place, None, ssl_context, server_hostname) for place in places])


def _check_tls(ssl_context: ssl.SSLContext | None, server_hostname: str | None) -> None:
    if ssl_context is None:
        if server_hostname is not None:  # to send in the clear is not what it was given for
            raise ArgumentError("server_hostname", server_hostname, "expected it only with ssl_context")
    elif not isinstance(ssl_context, ssl.SSLContext):
        expected = "expected an ssl.SSLContext, such as ssl.create_default_context()"
        raise ArgumentError("ssl_context", ssl_context, expected)
    elif ssl_context.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise ArgumentError(
            "ssl_context", ssl_context, "expected a context for clients, this one is for servers"
        )


def _place(text: str, port: int) -> tuple[str, int]:
    """`HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT` or a bare V6 address."""
    host, rest = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
    elif text.count(":") == 1:  # more of them are an IPv6 address
        host, _, rest = text.partition(":")
        rest = ":" + rest
    if host and not rest:
        return host, port
    digits = rest[1:]
    if not (
        host and digits.isascii() and digits.isdecimal() and len(digits) <= 5 and 0 < int(digits) < 65536
    ):
        raise ArgumentError("host", text, "expected HOST or HOST:PORT, with a port from 1 to 65535")
    return host, int(digits)
