"""Robust standard streams: closed, full, non-blocking, or unable to encode some characters.

Output goes out at once, past Python's buffers, so that no error is left for the exit of the interpreter.
It knows nothing of what is written.
"""

from __future__ import annotations

import os
import select
import sys

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["Unwritable", "open_missing", "put", "reader_gone", "write_all"]


class Unwritable(Exception):
    """The stream takes no more. `reader_gone`: because its reader has closed it."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.reader_gone = isinstance(error, BrokenPipeError)


def open_missing() -> None:
    """Open /dev/null for each closed standard stream, so that no socket of ours becomes standard output."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDONLY if fd == 0 else os.O_WRONLY)
            if opened != fd:
                os.dup2(opened, fd)
                os.close(opened)
            os.set_inheritable(fd, True)
            setattr(sys, name, open(fd, "r" if fd == 0 else "w", closefd=False))  # noqa: SIM115 - for good


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, also to a descriptor that others made non-blocking. Raises Unwritable."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select([], [fd], [])
        except OSError as error:
            raise Unwritable(error) from error


def reader_gone(stream: TextIO) -> bool:
    """Whether the reader has gone: a closed pipe, a terminal that has hung up."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return bool(poll.poll(0))


def put(stream: TextIO, text: str) -> None:
    """Write `text`, escaped where the stream's encoding lacks a letter. Raises Unwritable."""
    write_all(stream.fileno(), text.encode(stream.encoding, errors="backslashreplace"))
