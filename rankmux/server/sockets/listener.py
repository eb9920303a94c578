"""The listening sockets: a budget of connections per turn, a pause when the system runs out of resources.

Knows no protocol.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...config import Config
from ...errors import AddressInUse, ConfigError
from ...system.json_lines import tagged
from ...system.reactor import READABLE, Reactor
from ...system.reasons import unix_reason
from .addresses import listen_on, text_address
from .transport import PlainSocket

__all__ = ["Listener", "ListeningSocket", "Newcomer", "clear_path", "unix_error"]

# Errors of the one connection being accepted; any other error would recur at once.
_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        *("ECONNABORTED", "EPROTO", "EINTR", "EPERM", "ENOPROTOOPT", "EOPNOTSUPP", "ETIMEDOUT"),
        *("ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ENONET"),
    )
    if hasattr(errno, name)
)
_BACKLOG = 4096
_PAUSE_FIRST_S = 0.1
_PAUSE_LAST_S = 1.0
_CREDENTIALS = struct.Struct("iII")  # of SO_PEERCRED: process, user, group

Newcomer = tuple[PlainSocket, str, bytes | int | None]
"""A connection, its address and what has come with it, as `kernel.accept` gives them."""

log = logging.getLogger("rankmux.listener")


class ListeningSocket(socket.socket):
    """A listening socket that accepts without building enum members for each connection's family and type.

    `socket.accept` does build them, which costs as much as the system call.
    """

    __slots__ = ("_kind",)

    def __init__(
        self, family: int, type_: int = socket.SOCK_STREAM, protocol: int = 0, fileno: int | None = None
    ) -> None:
        super().__init__(family, type_, protocol, fileno)
        self._kind = int(family), int(type_), protocol

    def accept_plainly(self) -> tuple[PlainSocket, Any]:
        """As `accept`, for a listener that does not block."""
        fd, address = self._accept()  # type: ignore[attr-defined]
        try:
            sock = PlainSocket(*self._kind, fd)
        except MemoryError:
            os.close(fd)
            raise
        return sock, address


_Accept = Callable[[ListeningSocket, list[Newcomer], int, int], int]


class Listener:
    """Listens on the addresses in `config` after `check` has accepted them, or on the socket passed as `handed`.

    `accept` takes connections off one of its sockets (`kernel.accept`).
    `address` is the first of them, host and port, or the path of a Unix socket and 0; `where` is all of them as text.
    `fds` are the descriptors. A `handed` socket stays with the service manager afterwards. Raises ConfigError when it
    cannot listen.
    """

    def __init__(
        self,
        config: Config,
        reactor: Reactor,
        check: Callable[[str], None],
        accept: _Accept,
        handed: socket.socket | None = None,
    ) -> None:
        self._reactor = reactor
        self._accept = accept
        self._pause_s = 0.0
        self._next = 0  # the socket that is accepted from first
        self.pauses = 0  # how often accepting was paused
        self._path = config.unix if handed is None else ""
        if handed is not None:
            self._socks = [_adopt(handed, config, check)]
        else:
            self._socks = [_listen_unix(config)] if config.unix else _listen(config, check)
        self.fds = frozenset(sock.fileno() for sock in self._socks)
        self._local = self._socks[0].family == socket.AF_UNIX
        self._inode = Path(self._path).stat().st_ino if self._path else 0
        if self._local:
            self.address: tuple[str, int] = (os.fsdecode(self._socks[0].getsockname()), 0)
            self.where = f"unix:{self.address[0]}"
        else:
            self.address = self._socks[0].getsockname()[:2]
            self.where = ", ".join(text_address(sock.getsockname()) for sock in self._socks)
        self._watch(READABLE)

    def accept(self, newcomers: list[Newcomer], budget: int, size: int, now: float) -> None:
        """Take at most `budget` new connections into `newcomers`, with up to `size` bytes of each.

        A connection that its peer has already broken is skipped; a lack of descriptors or memory pauses accepting.
        """
        count = len(self._socks)
        self._next = (self._next + 1) % count  # else a crowd at one address would use up every budget
        before = empty = 0
        while empty < count and len(newcomers) < budget:
            try:
                error = self._accept(self._socks[self._next], newcomers, budget, size)
            except MemoryError:
                error = errno.ENOMEM
            if len(newcomers) > before and self._pause_s:
                log.warning("accepting again", extra=tagged("accept_resumed"))
                self._pause_s = 0.0
            before = len(newcomers)
            if error == errno.EAGAIN:
                empty += 1
                self._next = (self._next + 1) % count
            elif error in _PASSING:
                budget -= 1
            elif error:
                self._pause(os.strerror(error), now)
                break
        if self._local:
            newcomers[:] = _with_credentials(newcomers)

    def close(self) -> None:
        """Stop listening."""
        if self.fds:
            while self._socks:  # without an iterator, for which there might be no memory
                self._reactor.watch(self._socks[-1].fileno(), 0)
                self._socks[-1].close()
                del self._socks[-1]
            self.fds = frozenset()
            self._unlink()

    def _watch(self, interest: int) -> None:
        for fd in self.fds:
            self._reactor.watch(fd, interest)

    def _unlink(self) -> None:
        if self._path:
            with suppress(FileNotFoundError):
                if Path(self._path).stat().st_ino == self._inode:  # else another process has replaced it
                    Path(self._path).unlink()

    def _pause(self, error: str, now: float) -> None:
        if not self._pause_s:
            text = "accepting paused: %s; members are not affected"
            log.warning(text, error, extra=tagged("accept_paused", error=error))
        self.pauses += 1
        self._pause_s = min(max(self._pause_s * 2, _PAUSE_FIRST_S), _PAUSE_LAST_S)
        self._watch(0)
        self._reactor.call_at(now + self._pause_s, self._resume)

    def _resume(self, _now: float) -> None:
        self._watch(READABLE)


def _with_credentials(newcomers: list[Newcomer]) -> Iterator[Newcomer]:
    """Those of a Unix socket, with the peer's process and user for an address."""
    for sock, _, first in newcomers:
        try:
            octets = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError as error:
            facts = tagged("accept_failed", error=error.strerror)
            log.warning("closed a new connection: %s", error.strerror, extra=facts)
            sock.close()
            continue
        process, user, _group = _CREDENTIALS.unpack(octets)
        yield sock, f"unix:user={user}:process={process}", first


def _tune(sock: socket.socket, config: Config) -> None:
    """Set the options that accepted sockets inherit, so that none has to be set on each connection."""
    sock.setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF, config.send_buffer_bytes // 2
    )  # the kernel doubles it
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(config.user_timeout_s * 1000))


def _adopt(sock: socket.socket, config: Config, check: Callable[[str], None]) -> ListeningSocket:
    if sock.family != socket.AF_UNIX:
        check(str(sock.getsockname()[0]))
    _tune(sock, config)
    sock.setblocking(False)
    if isinstance(sock, ListeningSocket):
        return sock
    return ListeningSocket(sock.family, socket.SOCK_STREAM, sock.proto, sock.detach())


def _listen(config: Config, check: Callable[[str], None]) -> list[ListeningSocket]:
    def make(family: int, type_: int, protocol: int) -> ListeningSocket:
        sock = ListeningSocket(family, type_, protocol)
        try:
            _tune(sock, config)
        except OSError:
            sock.close()
            raise
        return sock

    return listen_on("host", config.host, config.port, check, make, _BACKLOG)


def _listen_unix(config: Config) -> ListeningSocket:
    sock = ListeningSocket(socket.AF_UNIX)
    try:
        _tune(sock, config)
        before = os.umask(0o177)  # so that the socket never has a wider mode
        try:
            clear_path(config.unix)
            sock.bind(config.unix)
        finally:
            os.umask(before)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise unix_error("unix", config.unix, error) from None
    return sock


def unix_error(key: str, path: str, error: OSError) -> ConfigError:
    """The reason why a Unix socket could not be bound to `path`."""
    if error.errno == errno.EADDRINUSE and Path(path).is_socket():
        return AddressInUse(key, path)
    return ConfigError(key, path, f"cannot create a socket there: {unix_reason(path, error)}")


def clear_path(path: str) -> None:
    """Remove a stale socket at `path`; a socket in use and any other file are left alone."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except OSError:
            return  # a full backlog means that it is in use, too; bind will report it
