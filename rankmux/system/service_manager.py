"""What a service manager and the server say to each other: sockets that are handed over, and how it goes.

The protocols of sd_listen_fds(3) and sd_notify(3), by their manual pages. Nothing happens where nobody asks for it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from ..errors import ConfigError

__all__ = ["Notifier", "handed_sockets"]

_FIRST_FD = 3


def handed_sockets(environ: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """The listening sockets that were handed to this process, by their names, and away with the variables.

    One without a name, or whose name says no more than its unit's, is `""`. Raises ConfigError when one is no listening
    stream socket, or two have one name.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
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
                raise OSError("it is none")
        except OSError as error:
            raise ConfigError(
                "LISTEN_FDS", count, f"listening stream sockets are expected ({error})"
            ) from None
        if name in found:
            raise ConfigError("LISTEN_FDS", count, "one socket is expected for clients, and one named admin")
        sock.set_inheritable(False)
        found[name] = sock
    return found


class Notifier:
    """Tells the service manager of `environ`, if there is one that wants to know. Nothing of it can fail.

    `interval_s`: how often it wants to hear `alive`, None when it doesn't.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        path = environ.pop("NOTIFY_SOCKET", "")
        wanted, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._alive_at = 0.0
        mine = bool(path) and pid in ("", str(os.getpid()))
        self.interval_s = int(wanted) / 2e6 if mine and wanted.isdigit() and int(wanted) else None

    def ready(self, status: str) -> None:
        """Members are taken from now on."""
        self._send("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1", "STATUS=shutting down")

    def alive(self, now: float) -> None:
        """The loop goes round; told when it is time to."""
        if self.interval_s is not None and now >= self._alive_at:
            self._alive_at = now + self.interval_s
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(lines).encode(), self._address)
