"""The memory of the process: whether there is more to be had, and giving back what is free.

The C library keeps a good part of what a backlog took, and for good, unless it is told to give it back.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable

__all__ = ["available", "give_back"]


def _find() -> Callable[[int], int] | None:
    try:
        trim = ctypes.CDLL(
            None
        ).malloc_trim  # glibc has it; musl, whose free() gives back by itself, does not
    except (AttributeError, OSError):
        return None
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return trim


_malloc_trim = _find()


def available(size: int) -> bool:
    """Whether the system would give us so many bytes more. They are asked for, but not touched."""
    try:
        mmap.mmap(-1, size).close()
    except (OSError, MemoryError):
        return False
    return True


def give_back() -> None:
    """Takes some milliseconds: for after a burst, not for every turn."""
    if _malloc_trim is not None:
        _malloc_trim(0)
