"""The address of a server: TCP, TLS over it, or a Unix socket."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from os import PathLike, fspath

from ..core.wire.codes import DEFAULT_PORT

__all__ = ["Address"]


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address: `host` and `port`, or the path `unix`; with `ssl_context`, TLS from byte 0.

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
