"""Control socket of a held seat: a Unix socket that only its user can open, and the senders connected to it.

    offer = await offered(path, seat)
    environment["RANKMUX_SEAT"] = str(offer.path)
    ...
    offer.close()

A sender that does not read its replies is disconnected when 16 MiB wait for it, and one whose requests are not answered
yet is not read for a while; other senders are not held up.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from ...errors import ConfigError
from ...system.reasons import file_reason, unix_reason
from .protocol import ControlError, FrameReader, Header, encoded
from .requests import Requests
from .seat import Seat

__all__ = ["SeatSocket", "offered"]

_SENDERS_MAX = 64
_UNREAD_MAX_BYTES = 16 * 1024 * 1024
_PAYLOAD_MAX = 16 * 1024 * 1024  # the largest max_payload of a server; the session judges by the real one
_READ_BYTES = 64 * 1024
_DIRECTORY_MAX_BYTES = 96  # the address of a Unix socket has at most 103 bytes on some systems, 107 on Linux


class SeatSocket:
    """A socket at `path`, or, without one, in a private directory of its own.

    Raises ConfigError for `path`, OSError without one.
    """

    def __init__(self, path: str | None) -> None:
        self._directory = None if path else _private_directory()
        self.path = self._directory / "seat" if self._directory else _absolute(path or "")
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
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
            if self._directory or isinstance(error, ConfigError):
                raise
            raise _unusable(self.path, unix_reason(str(self.path), error)) from error
        self._identity = _identity(self.path)

    async def serve(self, seat: Seat) -> None:
        """Serve senders from now on, until it is closed."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(seat, reader, writer)

        self._server = await asyncio.start_unix_server(connected, sock=self._listener)

    def close(self) -> None:
        """Disconnect the senders, and remove the socket."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()
        self._listener.close()
        if _identity(self.path) == self._identity:  # nobody has put another one in its place
            with suppress(OSError):
                self.path.unlink()
        self._remove_directory()

    def _remove_directory(self) -> None:
        if self._directory is not None:
            with suppress(OSError):
                self._directory.rmdir()

    async def _serve(self, seat: Seat, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def reply(header: Header, payload: bytes) -> None:
            if not writer.is_closing():
                writer.write(encoded(header, payload))
                if writer.transport.get_write_buffer_size() > _UNREAD_MAX_BYTES:
                    writer.transport.abort()

        requests = Requests(seat, reply)
        try:
            if len(self._writers) >= _SENDERS_MAX:
                raise ControlError(f"{_SENDERS_MAX} senders use this seat already")
            self._writers.add(writer)
            requests.greet()
            frames = FrameReader(_PAYLOAD_MAX)
            while data := await reader.read(_READ_BYTES):
                for header, payload in frames.receive_data(data):
                    await requests.until_ready()
                    requests.request(header, payload)
        except ControlError as error:
            reply({"is": "error"}, str(error).encode())
        except ConnectionError:
            pass
        finally:
            requests.close()
            self._writers.discard(writer)
            writer.close()


async def offered(path: str | None, seat: Seat) -> SeatSocket:
    """A control socket through which others use `seat`. Raises ConfigError for `path`, OSError without one."""
    offer = SeatSocket(path)
    await offer.serve(seat)
    return offer


def _private_directory() -> Path:
    """A new directory that only we can enter. Raises OSError."""
    directory = tempfile.mkdtemp(prefix="rankmux-")
    if len(os.fsencode(directory)) <= _DIRECTORY_MAX_BYTES:
        return Path(directory)
    os.rmdir(directory)
    return Path(tempfile.mkdtemp(prefix="rankmux-", dir="/tmp"))


def _absolute(path: str) -> Path:
    try:
        return Path(os.path.abspath(path))
    except OSError as error:  # the working directory has been removed
        raise _unusable(Path(path), file_reason(error)) from error


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
    return ConfigError("--seat", str(path), f"cannot create a socket there: {reason}")


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on any more. Raises ConfigError when there is something else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise _unusable(path, "something else is there already; remove it, or choose another path")
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
