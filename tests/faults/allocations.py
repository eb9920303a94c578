"""A server that reports its memory in use: `python -m tests.faults.allocations server ...`.

It is `python -m rankmux` with a handler for SIGUSR2, which writes a line to standard output: the blocks of Python's
allocator and the bytes of the C library's, after a garbage collection, without what the interpreter caches. Resident
bytes are no measure of a small leak: the allocators and that cache fill up over hundreds of thousands of connections.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import signal
import sys
from dataclasses import dataclass

from rankmux.__main__ import main

ASKED = signal.SIGUSR2
LINE = re.compile(rb"in use: (\d+) blocks, (\d+) bytes\n")


@dataclass(frozen=True)
class InUse:
    """Blocks of Python's allocator (objects of up to 512 bytes), and bytes of the C library's (all else)."""

    blocks: int
    malloc_bytes: int

    @classmethod
    def parse(cls, line: bytes) -> InUse:
        found = LINE.fullmatch(line)
        assert found, f"not a line of allocations: {line!r}"
        return cls(int(found[1]), int(found[2]))

    def line(self) -> bytes:
        return b"in use: %d blocks, %d bytes\n" % (self.blocks, self.malloc_bytes)


class _Mallinfo2(ctypes.Structure):
    """As in <malloc.h>."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def in_use() -> InUse:
    """The memory that this process has in use."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    ctypes.pythonapi.PyType_ClearCache()  # up to 4,096 names of attributes
    gc.collect()
    info = mallinfo2()
    return InUse(sys.getallocatedblocks(), info.uordblks + info.hblkhd)


if __name__ == "__main__":
    signal.signal(ASKED, lambda _signum, _frame: os.write(1, in_use().line()) and None)
    sys.exit(main())
