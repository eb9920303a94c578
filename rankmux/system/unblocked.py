"""Writers that never block, for descriptors that other processes share.

O_NONBLOCK belongs to the open file description, so setting it would change the descriptor of every other process that
shares it; and a descriptor that is ready may be full again by the time of the write, because another process has
written to it. Each kind of file has its own way around both. Knows nothing of what is written.
"""

from __future__ import annotations

import os
import stat
import weakref

TYPE_CHECKING = False  # as of `typing`, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ATOMIC_BYTES", "unblocked"]

ATOMIC_BYTES = 4096
"""PIPE_BUF: a pipe takes this much whole or not at all."""


def unblocked(fd: int) -> Callable[[bytes], int]:
    """A function that writes to `fd`, at most ATOMIC_BYTES in a call, and returns the number of bytes written.

    It returns 0 if the write would block, and raises OSError if `fd` is broken. The caller keeps and closes `fd`.
    """
    kind = os.fstat(fd).st_mode
    if stat.S_ISREG(kind):
        return _File(fd).write  # never blocks for long
    if stat.S_ISSOCK(kind):
        return _Socket(fd).write
    try:
        return _Reopened(fd).write
    except OSError:  # no /proc, another user's file, or a pipe that nobody reads yet
        if stat.S_ISFIFO(kind) and hasattr(os, "splice"):
            return _Spliced(fd).write
        return _Relayed(fd).write


class _File:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0


class _Socket:
    """A socket, which can be told for each call not to block."""

    def __init__(self, fd: int) -> None:
        import socket

        sock = socket.socket(fileno=os.dup(fd))
        weakref.finalize(self, sock.close)
        self._send = sock.send
        self._flags = socket.MSG_DONTWAIT

    def write(self, data: bytes) -> int:
        try:
            return self._send(data, self._flags)
        except BlockingIOError:
            return 0


class _Reopened(_File):
    """A pipe or a terminal that was opened once more: that description is ours alone and can be non-blocking."""

    def __init__(self, fd: int) -> None:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            opened = os.open(f"/proc/self/fd/{fd}", flags)
        except FileNotFoundError:
            opened = os.open(os.ttyname(fd), flags)  # raises OSError for anything but a terminal
        super().__init__(opened)
        weakref.finalize(self, os.close, opened)


class _Spliced:
    """A pipe that cannot be reopened: `splice` from a pipe of ours can be told not to block, but is for Linux only.

    A line takes a page of the pipe this way, so fewer lines fit than with a write.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for ours in (self._reader, self._writer):
            weakref.finalize(self, os.close, ours)

    def write(self, data: bytes) -> int:
        size = os.write(self._writer, data)
        moved = 0
        try:
            moved = os.splice(self._reader, self._fd, size, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            pass
        finally:
            if moved < size:
                os.read(self._reader, size)
        return moved


_RELAY = """
import os
while data := os.read(0, 65536):
    while data:
        data = data[os.write(1, data):]
"""


class _Relayed(_File):
    """Any other file, such as another user's terminal: a process of ours, fed through a pipe, blocks in our place."""

    def __init__(self, fd: int) -> None:
        import subprocess
        import sys

        reader, writer = os.pipe()
        super().__init__(writer)
        weakref.finalize(self, os.close, writer)
        os.set_blocking(writer, False)
        try:
            command = [sys.executable, "-I", "-S", "-c", _RELAY]
            # In a session of its own, because it outlives Ctrl-C: the last lines are still to come then.
            self._process = subprocess.Popen(  # noqa: S603 - our own text
                command, stdin=reader, stdout=fd, stderr=subprocess.DEVNULL, start_new_session=True
            )
        finally:
            os.close(reader)
        self._process.returncode = 0  # it ends after us, and nobody waits for it
