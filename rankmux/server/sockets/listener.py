"""The listening socket: so many connections a turn, and a pause when the system has none to give. Knows no protocol."""

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
from .transport import PlainSocket

__all__ = ["Listener", "clear_path", "text_address", "unix_error"]

# These concern the one connection that was to be accepted; anything else would come up again at once.
_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        *("ECONNABORTED", "EPROTO", "EINTR", "EPERM", "ENOPROTOOPT", "EOPNOTSUPP", "ETIMEDOUT"),
        *("ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ENONET"),
    )
    if hasattr(errno, name)
)
_PAUSE_FIRST_S = 0.1
_PAUSE_LAST_S = 1.0
_CREDENTIALS = struct.Struct("iII")  # of SO_PEERCRED: process, user, group

log = logging.getLogger("rankmux.server.sockets.listener")


def text_address(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """`127.0.0.1:7117`, `[::1]:7117`."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Listening(socket.socket):
    """A listening socket that accepts without making enumerations of each connection's family and type.

    That is what `socket.accept` does, and it costs as much as the accepting.
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
            sock = PlainSocket(*self._kind, fileno=fd)
        except MemoryError:
            os.close(fd)
            raise
        return sock, address


class Listener:
    """Listens where `config` says, once `check` has let the address pass. Raises ConfigError when it can't.

    `address` is host and port, or the path of a Unix socket and 0; `where` is it in one text. A socket that was
    `handed` to us is listened on instead; who handed it over goes on with it after us.
    """

    def __init__(
        self,
        config: Config,
        reactor: Reactor,
        check: Callable[[str], None],
        handed: socket.socket | None = None,
    ) -> None:
        self._reactor = reactor
        self._pause_s = 0.0
        self.pauses = 0  # so often had the system no connection to give
        self._path = config.unix if handed is None else ""
        if handed is not None:
            self._sock = _adopt(handed, config, check)
        else:
            self._sock = _listen_unix(config) if config.unix else _listen(config, check)
        self.fd = self._sock.fileno()
        self._local = self._sock.family == socket.AF_UNIX
        self._inode = Path(self._path).stat().st_ino if self._path else 0
        if self._local:
            self.address: tuple[str, int] = (os.fsdecode(self._sock.getsockname()), 0)
            self.where = f"unix:{self.address[0]}"
        else:
            self.address = self._sock.getsockname()[:2]
            self.where = text_address(self.address)
        reactor.watch(self.fd, READABLE)

    def accept(self, budget: int, now: float) -> Iterator[tuple[PlainSocket, str]]:
        """At most `budget` new connections, non-blocking, with their addresses as texts.

        What the peer broke is passed over, what the system lacks pauses us.
        """
        for _ in range(budget):
            try:
                sock, address = self._sock.accept_plainly()
            except BlockingIOError:
                return
            except (MemoryError, SystemError):  # the latter: accept itself forgets to say what it lacked
                self._pause(os.strerror(errno.ENOMEM), now)
                return
            except OSError as error:
                if error.errno in _PASSING:
                    continue
                self._pause(error.strerror or str(error), now)
                return
            if self._pause_s:
                log.warning("accepting again", extra=tagged("accept_resumed"))
                self._pause_s = 0.0
            try:
                sock.setblocking(False)
                text = _credentials(sock) if self._local else text_address(address)
            except OSError as error:
                facts = tagged("accept_failed", error=error.strerror)
                log.warning("a new connection was closed: %s", error.strerror, extra=facts)
                sock.close()
                continue
            yield sock, text

    def close(self) -> None:
        """Stop listening."""
        if self.fd >= 0:
            self._reactor.watch(self.fd, 0)
            self._sock.close()
            self.fd = -1
            self._unlink()

    def _unlink(self) -> None:
        if self._path:
            with suppress(FileNotFoundError):
                if (
                    Path(self._path).stat().st_ino == self._inode
                ):  # not one that somebody else has put there since
                    Path(self._path).unlink()

    def _pause(self, error: str, now: float) -> None:
        if not self._pause_s:
            text = "not accepting for a while: %s; members are not affected"
            log.warning(text, error, extra=tagged("accept_paused", error=error))
        self.pauses += 1
        self._pause_s = min(max(self._pause_s * 2, _PAUSE_FIRST_S), _PAUSE_LAST_S)
        self._reactor.watch(self.fd, 0)
        self._reactor.call_at(now + self._pause_s, self._resume)

    def _resume(self, _now: float) -> None:
        if self.fd >= 0:
            self._reactor.watch(self.fd, READABLE)


def _credentials(sock: socket.socket) -> str:
    process, user, _ = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return f"unix:user={user}:process={process}"


def _tune(sock: socket.socket, config: Config) -> None:
    """What is set here, accepted sockets inherit: nothing has to be set on each. The kernel doubles the first one."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, config.send_buffer_bytes // 2)
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(config.user_timeout_s * 1000))


def _adopt(sock: socket.socket, config: Config, check: Callable[[str], None]) -> _Listening:
    if sock.family != socket.AF_UNIX:
        check(str(sock.getsockname()[0]))
    _tune(sock, config)
    sock.setblocking(False)
    return _Listening(sock.family, socket.SOCK_STREAM, sock.proto, sock.detach())


def _listen(config: Config, check: Callable[[str], None]) -> _Listening:
    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError("host", config.host, f"an address of this machine is expected ({error})") from None
    family, type_, protocol, _, address = found[0]
    check(str(address[0]))
    sock = _Listening(family, type_, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _tune(sock, config)
        sock.bind(address)
        sock.listen(4096)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        where = text_address((config.host, config.port))
        kind = AddressInUse if error.errno == errno.EADDRINUSE else ConfigError
        raise kind("the address", where, f"one that is free is expected ({error.strerror})") from None
    return sock


def _listen_unix(config: Config) -> _Listening:
    sock = _Listening(socket.AF_UNIX)
    try:
        _tune(sock, config)
        before = os.umask(0o177)  # the mode is right from the first moment on
        try:
            clear_path(config.unix)
            sock.bind(config.unix)
        finally:
            os.umask(before)
        sock.listen(4096)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise unix_error("unix", config.unix, error) from None
    return sock


def unix_error(key: str, path: str, error: OSError) -> ConfigError:
    """Why a Unix socket could not be bound to `path`."""
    in_use = error.errno == errno.EADDRINUSE and Path(path).is_socket()
    kind = AddressInUse if in_use else ConfigError
    return kind(key, path, f"a path for a new socket is expected ({error.strerror or error})")


def clear_path(path: str) -> None:
    """Remove a socket that a server has left behind; leave one alone that somebody listens on, and anything else."""
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
            return  # a full backlog is a sign of life too; the bind will say that the path is taken
