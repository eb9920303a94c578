"""Test clients over TLS and over a Unix socket."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

from ..protocol.peer import DEADLINE_S, Peer


class TlsPeer(Peer):
    """A test client over TLS."""

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext,
        *,
        receive_buffer: int = 0,
        answers_pings: bool = True,
    ) -> None:
        super().__init__(host, port, receive_buffer=receive_buffer, answers_pings=answers_pings)
        try:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        except BaseException:
            self.sock.close()
            raise

    def half_close(self) -> None:
        assert isinstance(self.sock, ssl.SSLSocket)
        self.sock.settimeout(0.05)
        with suppress(OSError, ValueError):
            self.sock.unwrap()


class UnixPeer(Peer):
    """A test client over a Unix socket."""

    def __init__(self, path: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as placeholder:  # a Peer is created over TCP
            super().__init__(*placeholder.getsockname())
        self.sock.close()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(path)
