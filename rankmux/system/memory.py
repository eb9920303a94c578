"""The memory of the process: probing for more, and returning free memory to the system.

After a backlog, the C library keeps much of the freed memory for good, unless it is trimmed.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable

__all__ = ["available", "give_back"]


def _find() -> Callable[[int], int] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim  # glibc only; musl's free() returns memory by itself
    except (AttributeError, OSError):
        return None
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return trim


_malloc_trim = _find()


def available(size: int) -> bool:
    """Whether the system would grant `size` more bytes. They are mapped, but not touched."""
    try:
        mmap.mmap(-1, size).close()
    except (OSError, MemoryError):
        return False
    return True


def give_back() -> None:
    """Return free memory to the system. Takes some milliseconds: call it after a burst, not in every turn."""
    if _malloc_trim is not None:
        _malloc_trim(0)
