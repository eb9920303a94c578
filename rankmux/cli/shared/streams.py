"""Standard output and standard error as they may be: closed, full, non-blocking, in an encoding that lacks letters.

What is written goes out at once, past Python's buffers, so that nothing that could not be written turns up at exit.
It knows nothing of what is written.
"""

from __future__ import annotations

import os
import select
import sys
from typing import TextIO

__all__ = ["Unwritable", "open_missing", "put", "reader_gone", "write_all"]


class Unwritable(Exception):
    """Nothing more can be written there. `reader_gone` tells whether that is because nobody reads it any more."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.reader_gone = isinstance(error, BrokenPipeError)


def open_missing() -> None:
    """Open /dev/null for each standard stream that was closed, lest a socket of ours become standard output."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDONLY if fd == 0 else os.O_WRONLY)
            if opened != fd:
                os.dup2(opened, fd)
                os.close(opened)
            os.set_inheritable(fd, True)
            setattr(sys, name, open(fd, "r" if fd == 0 else "w", closefd=False))  # noqa: SIM115 - for good


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, also where others have set O_NONBLOCK. Raises Unwritable."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select([], [fd], [])
        except OSError as error:
            raise Unwritable(error) from error


def reader_gone(stream: TextIO) -> bool:
    """Whether nobody can read what is written there any more: a closed pipe, a terminal that has hung up."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return bool(poll.poll(0))


def put(stream: TextIO, text: str) -> None:
    """Write `text`, escaped where the stream's encoding lacks a letter. Raises Unwritable."""
    write_all(stream.fileno(), text.encode(stream.encoding, errors="backslashreplace"))
