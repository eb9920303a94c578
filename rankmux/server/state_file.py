"""The file that holds the kept seats over a planned restart (docs/protocol.md, section 9).

It is written at the stop and read once. Layout:

    8 bytes that name the format · u64 instance · the room (`core.room.snapshot`) · u32 CRC-32 of all of that
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from struct import Struct
from zlib import crc32

from ..core.room.room import Room
from ..errors import ConfigError, SnapshotError
from ..system.json_lines import tagged
from ..system.small_files import read_small

__all__ = ["restore", "store"]

_FORMAT = b"RANKMUX\x01"
_HEAD = Struct("!8sQ")
_SUM = Struct("!I")
_MAX_BYTES = 1 << 30

log = logging.getLogger("rankmux.server")


def store(path: str, instance: int, room: Room, gone: set[int]) -> None:
    """Write the seats of `room` that are kept; the members `gone` have left just now. A failure is logged."""
    data = _HEAD.pack(_FORMAT, instance) + room.retire(gone)
    data += _SUM.pack(crc32(data))
    draft = f"{path}.{os.getpid()}"
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(draft, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(draft)
        facts = tagged("state_lost", path=path, error=error.strerror)
        log.error("the seats could not be written to %s: %s", path, error.strerror, extra=facts)
    else:
        facts = tagged("state_written", path=path, seats=len(room))
        log.info("%d seats are kept in %s", len(room), path, extra=facts)


def restore(path: str, room: Room, clock_ms: int) -> int | None:
    """Take up the seats in the file at `path`, and remove it; returns the instance, None for a new one.

    A file that is damaged, or does not fit this server, is told in the log and removed. Raises ConfigError when there
    is a file that cannot be read or removed.
    """
    try:
        data, _ = read_small(path, _MAX_BYTES)
        os.unlink(path)  # nothing may take up the same seats twice
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError("state", path, f"cannot read and remove the file: {error.strerror}") from None
    try:
        instance = _unpack(data, room)
    except SnapshotError as error:
        text = "the seats in %s are lost, this is a new instance: %s"
        log.warning(text, path, error, extra=tagged("state_lost", path=path, error=str(error)))
        return None
    room.wake(clock_ms)
    log.info(
        "%d seats were kept in %s", len(room), path, extra=tagged("state_read", path=path, seats=len(room))
    )
    return instance


def _unpack(data: bytes, room: Room) -> int:
    if len(data) < _HEAD.size + _SUM.size or crc32(data[: -_SUM.size]) != _SUM.unpack(data[-_SUM.size :])[0]:
        raise SnapshotError("the file is not whole")
    format_, instance = _HEAD.unpack_from(data)
    if format_ != _FORMAT:
        raise SnapshotError(f"its format is {format_!r}, expected {_FORMAT!r}")
    room.load(data[_HEAD.size : -_SUM.size])
    return int(instance)
