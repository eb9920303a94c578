"""The listening sockets of the admin endpoint: `admin` and `metrics` (HOST:PORT, or a PORT on loopback), `admin_unix`.

Knows no HTTP. The endpoint asks for no token, so `admin` listens on loopback only, unless `insecure` is set. `metrics`
listens anywhere: figures tell nothing of a single member.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from ...config import Config
from ...errors import ConfigError
from ..sockets.addresses import listen_on, text_address
from ..sockets.listener import clear_path, unix_error

__all__ = ["AdminSocket", "open_admin_sockets"]

_EXPECTED = "expected HOST:PORT, [HOST]:PORT for IPv6, or a PORT on loopback"
_BACKLOG = 64


class AdminSocket:
    """A listening socket. `where` is its address as a URL; `local_names_only`: see Exchange.

    `is_private`: it is a Unix socket, so the modes of files say who may use it. `only_figures`: see Routes.
    """

    __slots__ = ("_inode", "_path", "is_private", "local_names_only", "only_figures", "sock", "where")

    def __init__(self, sock: socket.socket, path: str = "", *, only_figures: bool = False) -> None:
        sock.setblocking(False)
        self.only_figures = only_figures
        self.sock = sock
        self._path = path
        self._inode = Path(path).stat().st_ino if path else 0
        self.is_private = sock.family == socket.AF_UNIX
        if self.is_private:
            name = sock.getsockname()
            self.where = f"unix:{name if isinstance(name, str) else os.fsdecode(name)}"
            self.local_names_only = False
        else:
            host, port = sock.getsockname()[:2]
            self.where = f"http://{text_address((host, port))}/{'metrics' if only_figures else ''}"
            self.local_names_only = ip_address(host.partition("%")[0]).is_loopback

    def close(self) -> None:
        """Stop listening."""
        self.sock.close()
        if self._path:
            with suppress(FileNotFoundError):
                if Path(self._path).stat().st_ino == self._inode:  # else another process has replaced it
                    Path(self._path).unlink()


def open_admin_sockets(config: Config, handed: socket.socket | None = None) -> list[AdminSocket]:
    """The sockets configured by `config`, and the one passed as `handed`. Raises ConfigError."""
    found: list[AdminSocket] = []
    try:
        if handed is not None:
            found.append(AdminSocket(handed))
            if handed.family != socket.AF_UNIX:
                _check(config, handed.getsockname()[0])
        if config.admin:
            found += map(AdminSocket, _listen("admin", config.admin, lambda address: _check(config, address)))
        if config.metrics:
            found += [
                AdminSocket(sock, only_figures=True)
                for sock in _listen("metrics", config.metrics, lambda _: None)
            ]
        if config.admin_unix:
            found.append(_listen_unix(config.admin_unix))
    except BaseException:
        for one in found:
            one.close()
        raise
    return found


def _listen(key: str, where: str, check: Callable[[str], None]) -> list[socket.socket]:
    host, _, port = where.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):
        raise ConfigError(key, where, _EXPECTED)

    def make(family: int, type_: int, protocol: int) -> socket.socket:
        sock = socket.socket(family, type_, protocol)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    return listen_on(key, host, int(port), check, make, _BACKLOG)


def _listen_unix(path: str) -> AdminSocket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        before = os.umask(0o177)  # so that the socket never has a wider mode
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


def _check(config: Config, address: str) -> None:
    if not config.insecure and not ip_address(address.partition("%")[0]).is_loopback:
        expected = (
            f"{address} is not a loopback address; with insecure, anyone who can reach it sees the members; for "
            "Prometheus, use metrics"
        )
        raise ConfigError("admin", config.admin or address, expected)
