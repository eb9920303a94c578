"""The file that holds the kept seats over a planned restart (docs/protocol.md, section 9).

It is written at the stop, and read and removed at the next start. In between it does not exist, so a server that was
killed leaves nothing that could be taken for the present. One server at a time uses it: a lock is held on an empty file
beside it. Layout:

    8 bytes that name the format · u64 instance · the room (`core.room.snapshot`) · u32 CRC-32 of all of that
"""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from struct import Struct
from zlib import crc32

from ..config import Config
from ..core.room.room import Room
from ..errors import ConfigError, SnapshotError
from ..system.json_lines import tagged
from ..system.reasons import file_reason
from ..system.small_files import read_small

__all__ = ["StateFile", "state_trouble"]

_FORMAT = b"RANKMUX\x01"
_HEAD = Struct("!8sQ")
_SUM = Struct("!I")
_MAX_BYTES = 1 << 30

log = logging.getLogger("rankmux.server")


class StateFile:
    """The file at `path`, locked until `store` or `close`. Raises ConfigError when another server uses it.

    Also when the directory cannot be written to: that must not come out at the stop.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        _check_directory(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self._lock = os.open(f"{path}.lock", flags, 0o600)
        except OSError as error:
            raise _cannot_write(path, file_reason(error)) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            if isinstance(error, BlockingIOError):
                raise ConfigError("state", path, "another server uses that file") from None
            raise _cannot_write(path, file_reason(error)) from None

    def load(self, room: Room, clock_ms: int) -> int | None:
        """Take up the seats in the file; returns the instance, None for a new one. The file stays.

        A file that is damaged, or does not fit this server, is told in the log. Raises ConfigError when there is a file
        that cannot be read.
        """
        path = self._path
        try:
            data = _read(path)
            instance = None if data is None else _unpack(data, room)
        except SnapshotError as error:
            text = "the seats in %s are lost, this is a new instance: %s"
            log.warning(text, path, error, extra=tagged("state_lost", path=path, error=str(error)))
            return None
        if instance is not None:
            room.wake(clock_ms)
            facts = tagged("state_read", path=path, seats=len(room))
            log.info("%d seats were kept in %s", len(room), path, extra=facts)
        return instance

    def remove(self) -> None:
        """Remove the file: nothing may take up the same seats twice, even if the machine fails. Raises ConfigError."""
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError("state", self._path, f"cannot remove the file: {file_reason(error)}") from None
        self._sync_directory()

    def store(self, instance: int, room: Room, gone: set[int]) -> bool:
        """Write the seats of `room` that are kept; the members `gone` have left just now. False when it failed.

        The lock is given up: the next server may start while this one still sends what it owes.
        """
        path = self._path
        data = _HEAD.pack(_FORMAT, instance) + room.retire(gone)
        data += _SUM.pack(crc32(data))
        draft = f"{path}.new"
        try:
            with suppress(FileNotFoundError):
                os.unlink(draft)  # of a server that was killed while it wrote
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(draft, flags, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
            self._sync_directory()
        except OSError as error:
            with suppress(OSError):
                os.unlink(draft)
            facts = tagged("state_lost", path=path, error=error.strerror)
            log.error("the seats could not be written to %s: %s", path, error.strerror, extra=facts)
        else:
            facts = tagged("state_written", path=path, seats=len(room))
            log.info("%d seats are kept in %s", len(room), path, extra=facts)
            return True
        finally:
            self.close()
        return False

    def close(self) -> None:
        """Give up the lock. The lock file stays: removing it could part two servers that wait for it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _sync_directory(self) -> None:
        """Make the change of the name durable, where the file system can."""
        with suppress(OSError):
            fd = os.open(os.path.dirname(self._path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def state_trouble(config: Config) -> str:
    """Why the next start would lose the seats in the file of `state`; empty if it would not. Changes nothing.

    Raises ConfigError when the server would not start because of it.
    """
    path = config.state
    _check_directory(path)
    room = Room(config.seats, config.max_payload, config.waiting_max, config.result_ttl_ms)
    try:
        if (data := _read(path)) is not None:
            _unpack(data, room)
    except SnapshotError as error:
        return f"the seats in {path} will be lost: {error}"
    return ""


def _check_directory(path: str) -> None:
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise _cannot_write(path, "there is no such directory; make it, or choose another path")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise _cannot_write(path, "permission denied to this user; the file is made anew at each stop")


def _cannot_write(path: str, why: str) -> ConfigError:
    return ConfigError("state", path, f"cannot write into {os.path.dirname(path) or '.'}: {why}")


def _read(path: str) -> bytes | None:
    """The contents of the file, None if there is none. Raises ConfigError."""
    try:
        return read_small(path, _MAX_BYTES)[0]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError("state", path, f"cannot read the file: {file_reason(error)}") from None


def _unpack(data: bytes, room: Room) -> int:
    if len(data) < _HEAD.size + _SUM.size or crc32(data[: -_SUM.size]) != _SUM.unpack(data[-_SUM.size :])[0]:
        raise SnapshotError("its checksum is wrong" if data else "the file is empty")
    format_, instance = _HEAD.unpack_from(data)
    if format_ != _FORMAT:
        raise SnapshotError(f"its format is {format_!r}, expected {_FORMAT!r}")
    room.load(data[_HEAD.size : -_SUM.size])
    return int(instance)
