"""The control socket of a held seat: a Unix socket that only its user can open, and the senders connected to it.

It asks its owner's loop for nothing but `watch(fd, interest, callback)`, so any form of the client can offer its seat:

    commands = Commands()                   # give it each event of the session first, and the end: `apply`, `lost`
    offer = SeatSocket(path, lambda reply: Requests(commands, lambda: session, reply), watch)
    environment["RANKMUX_SEAT"] = str(offer.path)
    ...
    offer.close()

A sender that does not read its replies is let go when 16 MiB wait for it; those of others are not held up.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...errors import ConfigError
from .loop import READABLE, WRITABLE
from .protocol import ControlError, FrameReader, Header, encoded
from .requests import Answering, Replied

__all__ = ["SEAT_VARIABLE", "Answer", "SeatSocket", "Watch"]

SEAT_VARIABLE = "RANKMUX_SEAT"
"""Where programs that a seat starts find its control socket."""

Watch = Callable[[int, int, Callable[[int], None]], None]
"""`watch(fd, interest, callback)`: READABLE and WRITABLE as bits, 0 to stop; `callback(mask)` when ready."""

Answer = Callable[[Replied], Answering]
"""Makes what answers a new sender: its replies go to the callable that is given."""

_SENDERS_MAX = 64
_UNREAD_MAX_BYTES = 16 * 1024 * 1024
_PAYLOAD_MAX = 16 * 1024 * 1024  # the largest max_payload of a server; the session judges by the real one
_READ_BYTES = 64 * 1024


class _Sender:
    """One connection to the control socket."""

    def __init__(self, sock: socket.socket, answer: Answer, watch: Watch) -> None:
        sock.setblocking(False)
        self.closed = False
        self._socket = sock
        self._watch = watch
        self._reader = FrameReader(_PAYLOAD_MAX)
        self._output = bytearray()
        self._requests = answer(self._reply)
        self._watch(sock.fileno(), READABLE, self._ready)

    def greet(self) -> None:
        """Say what seat this is."""
        self._requests.greet()

    def turn_away(self, reason: str) -> None:
        """Say why, and close."""
        self._reply({"is": "error"}, reason.encode())
        self.close()

    def close(self) -> None:
        """Close; what this sender waits for is forgotten."""
        if not self.closed:
            self.closed = True
            self._requests.close()
            self._watch(self._socket.fileno(), 0, self._ready)
            self._socket.close()

    def _reply(self, header: Header, payload: bytes) -> None:
        if self.closed:
            return
        self._output += encoded(header, payload)
        self._flush()
        if len(self._output) > _UNREAD_MAX_BYTES:
            self.close()

    def _flush(self) -> None:
        try:
            while self._output:
                sent = self._socket.send(self._output)
                del self._output[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._watch(self._socket.fileno(), READABLE | (WRITABLE if self._output else 0), self._ready)

    def _ready(self, mask: int) -> None:
        if mask & WRITABLE:
            self._flush()
        if mask & READABLE and not self.closed:
            self._read()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            for header, payload in self._reader.receive_data(data):
                self._requests.request(header, payload)
                if self.closed:
                    return
        except ControlError as error:
            self.turn_away(str(error))


class SeatSocket:
    """Offers a seat at `path`, or, without one, at a path of its own in a private directory.

    `answer(reply)` gives what answers a new sender. Raises ConfigError when the path cannot be had.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        answer: Answer,
        watch: Watch,
    ) -> None:
        self._answer = answer
        self._watch = watch
        self._senders: list[_Sender] = []
        self._directory = None if path else Path(tempfile.mkdtemp(prefix="rankmux-"))
        self.path = self._directory / "seat" if self._directory else Path(os.path.abspath(path or ""))
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            _remove_stale(self.path)
            before = os.umask(0o177)  # from the first moment on, nobody else can connect
            try:
                self._listener.bind(str(self.path))
            finally:
                os.umask(before)
            self._listener.listen(_SENDERS_MAX)
        except (OSError, ConfigError) as error:
            self._listener.close()
            self._remove_directory()
            if isinstance(error, ConfigError):
                raise
            raise _unusable(self.path, error.strerror or str(error)) from error
        self._identity = _identity(self.path)
        self._listener.setblocking(False)
        watch(self._listener.fileno(), READABLE, self._accept)

    def close(self) -> None:
        """Let the senders go, and remove the socket."""
        self._watch(self._listener.fileno(), 0, self._accept)
        for sender in self._senders:
            sender.close()
        self._listener.close()
        if _identity(self.path) == self._identity:  # nobody has put another one in its place
            with suppress(OSError):
                self.path.unlink()
        self._remove_directory()

    def _remove_directory(self) -> None:
        if self._directory is not None:
            with suppress(OSError):
                self._directory.rmdir()

    def _accept(self, _: int) -> None:
        try:
            sock, _address = self._listener.accept()
        except OSError:
            return  # it has gone again, or there is no descriptor left for it
        self._senders = [sender for sender in self._senders if not sender.closed]
        sender = _Sender(sock, self._answer, self._watch)
        if len(self._senders) >= _SENDERS_MAX:
            sender.turn_away(f"{_SENDERS_MAX} senders use this seat already")
            return
        self._senders.append(sender)
        sender.greet()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _in_use(path: Path) -> ConfigError:
    return ConfigError(
        "--seat", str(path), "another seat is held there; give another path, or end its holder"
    )


def _unusable(path: Path, reason: str) -> ConfigError:
    return ConfigError("--seat", str(path), f"a path where a socket can be made is expected ({reason})")


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on any more. Raises ConfigError when there is something else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise _unusable(path, "something else is there")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except BlockingIOError:
            raise _in_use(path) from None
        else:
            raise _in_use(path)
