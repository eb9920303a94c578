"""Opening a connection without ever waiting: the name looked up, each address tried, TLS shaken hands on.

`client.connect.connected_socket` does the same and waits. A name is looked up by a child process, for the system's
look-up blocks. It knows nothing of what is sent over the connection.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import ssl
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from ...client.address import Address
from ...client.failures import tls_failed, unreachable
from ...errors import ConnectionLost
from .loop import READABLE, WRITABLE, Driver

__all__ = ["Connecting"]

_READ_BYTES = 64 * 1024
_LOOK_UP = """\
import json, socket, sys
try:
    found = socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), type=socket.SOCK_STREAM)
    print(json.dumps([(family, address) for family, _, _, _, address in found]))
except (OSError, UnicodeError) as error:
    print(json.dumps(getattr(error, "strerror", None) or str(error)))
"""


class Connecting:
    """One attempt, which begins with the loop's next turn; the look-up and each address get `timeout_s`.

    It ends with `connected(sock)` or `failed(error)`, unless it is closed before.
    """

    def __init__(
        self,
        loop: Driver,
        address: Address,
        timeout_s: float,
        *,
        connected: Callable[[socket.socket], None],
        failed: Callable[[ConnectionLost], None],
    ) -> None:
        self._loop = loop
        self._address = address
        self._connected = connected
        self._failed = failed
        self._targets: deque[tuple[int, Any]] = deque()
        self._socket: socket.socket | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._found = bytearray()
        self._timeout_s = timeout_s
        self._timer = loop.after(0.0, self._begin)

    def close(self) -> None:
        """Give it up; nothing is called any more. A second time does nothing."""
        self._timer.cancel()
        self._end_look_up()
        self._drop()

    def _drop(self) -> None:
        if self._socket is not None:
            self._loop.watch(self._socket.fileno(), 0, self._tried)
            self._socket.close()
            self._socket = None

    def _end(self, outcome: socket.socket | ConnectionLost) -> None:
        if isinstance(outcome, ConnectionLost):
            self.close()
            self._failed(outcome)
        else:
            self._loop.watch(outcome.fileno(), 0, self._tried)
            self._socket = None
            self.close()
            self._connected(outcome)

    def _limit(self) -> None:
        self._timer.cancel()
        self._timer = self._loop.after(self._timeout_s, self._too_late)

    def _too_late(self) -> None:
        self._end_look_up()
        self._drop()
        self._try_next(TimeoutError("timed out"))

    # where

    def _begin(self) -> None:
        address = self._address
        if address.unix is not None:
            self._targets.append((socket.AF_UNIX, os.fspath(address.unix)))
            self._try_next(ConnectionRefusedError())
            return
        try:
            found = socket.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        except (OSError, UnicodeError):
            self._look_up(address)
        else:
            self._targets += [(family, where) for family, _, _, _, where in found]
            self._try_next(ConnectionRefusedError())

    def _look_up(self, address: Address) -> None:
        try:
            self._child = subprocess.Popen(  # noqa: S603 - no shell, and the program is Python's own
                [sys.executable, "-I", "-c", _LOOK_UP, address.host, str(address.port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except (OSError, ValueError) as error:
            self._end(unreachable(address, error))
            return
        assert self._child.stdout is not None
        self._loop.watch(self._child.stdout.fileno(), READABLE, self._read_found)
        self._limit()

    def _read_found(self, _: int) -> None:
        assert self._child is not None
        assert self._child.stdout is not None
        data = self._child.stdout.read1(_READ_BYTES)  # type: ignore[attr-defined]
        self._found += data
        if data:
            return
        self._end_look_up()
        found = json.loads(self._found or b'"its name cannot be looked up"')
        if isinstance(found, str):
            self._end(unreachable(self._address, OSError(found)))
        else:
            self._targets += [(family, tuple(where)) for family, where in found]
            self._try_next(ConnectionRefusedError())

    def _end_look_up(self) -> None:
        if self._child is not None:
            assert self._child.stdout is not None
            self._loop.watch(self._child.stdout.fileno(), 0, self._read_found)
            self._child.stdout.close()
            self._child.kill()
            self._child.wait()
            self._child = None

    # the socket

    def _try_next(self, error: OSError) -> None:
        while self._targets:
            family, where = self._targets.popleft()
            try:
                self._socket = socket.socket(family, socket.SOCK_STREAM)
                self._socket.setblocking(False)
                if family != socket.AF_UNIX:
                    self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socket.connect(where)
            except OSError as failure:
                if failure.errno == errno.EINPROGRESS and self._socket is not None:
                    self._limit()
                    self._loop.watch(self._socket.fileno(), WRITABLE, self._tried)
                    return
                error = failure  # EAGAIN is one: a Unix socket whose backlog is full
                self._drop()
            else:
                self._reached()
                return
        self._end(unreachable(self._address, error))

    def _tried(self, _: int) -> None:
        assert self._socket is not None
        self._loop.watch(self._socket.fileno(), 0, self._tried)
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._drop()
            self._try_next(_error(number))
        else:
            self._reached()

    def _reached(self) -> None:
        assert self._socket is not None
        context, address = self._address.ssl_context, self._address
        if context is None:
            self._end(self._socket)
            return
        try:
            self._socket = context.wrap_socket(
                self._socket,
                server_hostname=address.server_hostname or address.host,
                do_handshake_on_connect=False,
            )
        except (OSError, ValueError) as error:
            self._socket = None  # it has been taken from us, and is closed
            self._end(tls_failed(address, error))
        else:
            self._shake_hands(0)

    def _shake_hands(self, _: int) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._loop.watch(self._socket.fileno(), READABLE, self._shake_hands)
        except ssl.SSLWantWriteError:
            self._loop.watch(self._socket.fileno(), WRITABLE, self._shake_hands)
        except (OSError, ValueError) as error:
            self._end(tls_failed(self._address, error))
        else:
            self._end(self._socket)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
