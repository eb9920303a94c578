"""Reads of small files by name, bounded in size and in time.

Anything may be at that name: a named pipe (opening it would wait for a writer), a device, a file without end. Knows
nothing of what is read.
"""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["PEM_MAX_BYTES", "check_small", "read_small"]

PEM_MAX_BYTES = 4 << 20
"""A bound for PEM files: the bundles of all public certificate authorities have a quarter of a megabyte."""

_HANDED = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
_PIPE_S = 10.0


def read_small(path: str, most: int, *, pipes: bool = False) -> tuple[bytes, os.stat_result]:
    """The contents of the regular file at `path`, at most `most` bytes, and its status. Raises OSError.

    With `pipes`, a pipe handed to this process by number (`/dev/fd/63`, as of `<(...)` in a shell) is read to its end
    too; that waits for its writer, for some seconds. Such a pipe can be read only once.
    """
    fd, status = _open(path, most, pipes)
    try:
        return _read(fd, most, wait=stat.S_ISFIFO(status.st_mode)), status
    finally:
        os.close(fd)


def check_small(path: str, most: int, *, pipes: bool = False) -> None:
    """Raise the OSError of `read_small` without reading, for a library that reads the file itself."""
    os.close(_open(path, most, pipes)[0])


def _open(path: str, most: int, pipes: bool) -> tuple[int, os.stat_result]:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            if status.st_size > most:
                raise _too_large(most)
        elif stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        elif stat.S_ISFIFO(status.st_mode):
            if not (pipes and path.startswith(_HANDED)):
                raise OSError(errno.EINVAL, "it is a pipe, not a regular file")
        elif status.st_rdev != os.stat(os.devnull).st_rdev or not stat.S_ISCHR(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
    except BaseException:
        os.close(fd)
        raise
    return fd, status


def _read(fd: int, most: int, *, wait: bool) -> bytes:
    data = b""
    while len(data) <= most:
        if wait:
            _await(fd)
        more = os.read(fd, most + 1 - len(data))
        if not more:
            return data
        data += more
    raise _too_large(most)


def _await(fd: int) -> None:
    import select

    if not select.select([fd], [], [], _PIPE_S)[0]:
        raise TimeoutError(errno.ETIMEDOUT, "nothing was written to the pipe")


def _too_large(most: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {most} bytes")
