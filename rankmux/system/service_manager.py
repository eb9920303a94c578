"""The interface to a service manager: socket activation and notifications.

The protocols of sd_listen_fds(3) and sd_notify(3), by their manual pages. Without a service manager, nothing happens.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from ..errors import ConfigError

__all__ = ["Notifier", "handed_sockets"]

_FIRST_FD = 3
_READY_S = 2.0
_DIGITS_MAX = 20  # of a number of 64 bits


def handed_sockets(environ: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """The listening sockets passed to this process, by name. Removes their variables from `environ`.

    Any name but `admin` counts as `""`. Raises ConfigError for anything but a listening stream socket, and for a name
    that occurs twice.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not _is_count(count):
        return {}
    found: dict[str, socket.socket] = {}
    for index in range(int(count)):
        given = names[index] if index < len(names) else ""
        name = given if given == "admin" else ""
        try:
            sock = socket.socket(fileno=_FIRST_FD + index)
            if (
                not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                or sock.type != socket.SOCK_STREAM
            ):
                raise OSError(f"descriptor {_FIRST_FD + index} is not one")
        except OSError as error:
            raise ConfigError("LISTEN_FDS", count, f"expected listening stream sockets: {error}") from None
        if name in found:
            raise ConfigError("LISTEN_FDS", count, "expected one socket for clients, and one named admin")
        sock.set_inheritable(False)
        found[name] = sock
    return found


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX


class Notifier:
    """Notifies the service manager named in `environ`, if there is one. Never fails.

    `interval_s`: how often `alive` must be called, None for never.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        path = environ.pop("NOTIFY_SOCKET", "")
        wanted, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._alive_at = 0.0
        mine = bool(path) and pid in ("", str(os.getpid()))
        self.interval_s = int(wanted) / 2e6 if mine and _is_count(wanted) and int(wanted) else None

    def __bool__(self) -> bool:
        """Whether there is a service manager."""
        return bool(self._address)

    def reloading(self, now: float) -> None:
        """Report that the settings are being read again; `reloaded` is to follow. `now` is of the monotonic clock."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(now * 1_000_000)}")

    def ready(self, status: str) -> None:
        """Report that the server is listening; waits a moment if the manager is busy, for it would end us without."""
        self._send("READY=1", f"STATUS={status}", patience_s=_READY_S)

    def reloaded(self, status: str) -> bool:
        """Report that all has been read again; False when the manager is busy, and has to be told later."""
        return self._send("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        """Report that the shutdown has begun."""
        self._send("STOPPING=1", "STATUS=shutting down")

    def alive(self, now: float) -> None:
        """Report that the loop is running, if a report is due."""
        if self.interval_s is not None and now >= self._alive_at:
            self._alive_at = now + self.interval_s
            self._send("WATCHDOG=1")

    def _send(self, *lines: str, patience_s: float = 0.0) -> bool:
        """Whether it was sent, or nobody is there to read it."""
        if not self._address:
            return True
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(patience_s)  # 0: never wait
            try:
                sock.sendto("\n".join(lines).encode(), self._address)
            except BlockingIOError:
                return False
        return True
