"""Where people and monitors are listened to: `admin` (HOST:PORT, or a PORT of the loopback address) and `admin_unix`.

Knows no HTTP. Nobody shows a token here, so the door stands on loopback unless `insecure` says otherwise.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from ...config import Config
from ...errors import AddressInUse, ConfigError
from ..sockets.listener import clear_path, text_address, unix_error

__all__ = ["AdminSocket", "open_admin_sockets"]

_EXPECTED = "HOST:PORT is expected, [HOST]:PORT for IPv6, or a PORT of the loopback address"
_BACKLOG = 64


class AdminSocket:
    """A listening socket. `where` is it as an address to type; `local_names_only`: see Exchange."""

    __slots__ = ("_inode", "_path", "local_names_only", "sock", "where")

    def __init__(self, sock: socket.socket, path: str = "") -> None:
        sock.setblocking(False)
        self.sock = sock
        self._path = path
        self._inode = Path(path).stat().st_ino if path else 0
        if sock.family == socket.AF_UNIX:
            name = sock.getsockname()
            self.where = f"unix:{name if isinstance(name, str) else os.fsdecode(name)}"
            self.local_names_only = False
        else:
            host, port = sock.getsockname()[:2]
            self.where = f"http://{text_address((host, port))}/"
            self.local_names_only = ip_address(host.partition("%")[0]).is_loopback

    def close(self) -> None:
        """Stop listening."""
        self.sock.close()
        if self._path:
            with suppress(FileNotFoundError):
                if (
                    Path(self._path).stat().st_ino == self._inode
                ):  # not one that somebody else has put there since
                    Path(self._path).unlink()


def open_admin_sockets(config: Config, handed: socket.socket | None = None) -> list[AdminSocket]:
    """Those that `config` asks for, and the one that was `handed` to us listening. Raises ConfigError."""
    found: list[AdminSocket] = []
    try:
        if handed is not None:
            found.append(AdminSocket(handed))
            _check(config, handed)
        if config.admin:
            found.append(_listen(config))
        if config.admin_unix:
            found.append(_listen_unix(config.admin_unix))
    except BaseException:
        for one in found:
            one.close()
        raise
    return found


def _listen(config: Config) -> AdminSocket:
    host, _, port = config.admin.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ConfigError("admin", config.admin, _EXPECTED)
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError("admin", config.admin, f"{_EXPECTED} ({error})") from None
    family, type_, protocol, _, address = found[0]
    sock = socket.socket(family, type_, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(address)
        _check(config, sock)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        kind = AddressInUse if error.errno == errno.EADDRINUSE else ConfigError
        raise kind("admin", config.admin, f"an address that is free is expected ({error.strerror})") from None
    except ConfigError:
        sock.close()
        raise
    return AdminSocket(sock)


def _listen_unix(path: str) -> AdminSocket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        before = os.umask(0o177)  # the mode is right from the first moment on
        try:
            clear_path(path)
            sock.bind(path)
        finally:
            os.umask(before)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise unix_error("admin_unix", path, error) from None
    return AdminSocket(sock, path)


def _check(config: Config, sock: socket.socket) -> None:
    if sock.family == socket.AF_UNIX or config.insecure:
        return
    host = sock.getsockname()[0]
    if not ip_address(host.partition("%")[0]).is_loopback:
        expected = (
            f"a loopback address is expected, {host} is none; insecure shows members to who can reach it"
        )
        raise ConfigError("admin", config.admin or host, expected)
