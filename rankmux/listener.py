"""The listening socket: so many connections a turn, and a pause when the system has none to give. Knows no protocol."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator

from .config import Config
from .errors import ConfigError
from .links import READABLE
from .reactor import Reactor

__all__ = ["Listener", "text_address"]

_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_PAUSE_FIRST_S = 0.1
_PAUSE_LAST_S = 1.0

log = logging.getLogger("rankmux.listener")


def text_address(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """`127.0.0.1:7117`, `[::1]:7117`."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Listener:
    """Listens on `config.host` and `config.port`. Raises ConfigError when it can't."""

    def __init__(self, config: Config, reactor: Reactor) -> None:
        self._reactor = reactor
        self._pause_s = 0.0
        self._sock = _listen(config)
        self.fd = self._sock.fileno()
        self.address: tuple[str, int] = self._sock.getsockname()[:2]
        reactor.watch(self.fd, READABLE)

    def accept(self, budget: int, now: float) -> Iterator[tuple[socket.socket, tuple[str, int]]]:
        """At most `budget` new connections, non-blocking. What the peer broke is passed over, what the system lacks pauses us."""
        for _ in range(budget):
            try:
                sock, address = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error, now)
                    return
                continue  # ECONNABORTED, EPROTO and their like concern that one connection
            if self._pause_s:
                log.warning("accepting again")
                self._pause_s = 0.0
            sock.setblocking(False)
            yield sock, address

    def close(self) -> None:
        """Stop listening."""
        if self.fd >= 0:
            self._reactor.watch(self.fd, 0)
            self._sock.close()
            self.fd = -1

    def _pause(self, error: OSError, now: float) -> None:
        if not self._pause_s:
            log.warning("not accepting for a while: %s; members are not affected", error.strerror)
        self._pause_s = min(max(self._pause_s * 2, _PAUSE_FIRST_S), _PAUSE_LAST_S)
        self._reactor.watch(self.fd, 0)
        self._reactor.call_at(now + self._pause_s, self._resume)

    def _resume(self, now: float) -> None:
        if self.fd >= 0:
            self._reactor.watch(self.fd, READABLE)


def _listen(config: Config) -> socket.socket:
    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError("--host", config.host, f"an address of this machine is expected ({error})") from None
    family, type_, protocol, _, address = found[0]
    sock = socket.socket(family, type_, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What is set here, accepted sockets inherit: nothing has to be set on each.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, config.send_buffer_bytes)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(config.user_timeout_s * 1000))
        sock.bind(address)
        sock.listen(4096)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        where = f"{config.host}:{config.port}"
        raise ConfigError("the address", where, f"one that is free is expected ({error.strerror})") from None
    return sock
