"""The memory of the process: probing for more, returning free memory to the system, the garbage collector's pauses.

After a backlog, the C library keeps much of the freed memory for good, unless it is trimmed.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
from collections.abc import Callable

__all__ = ["available", "give_back", "no_long_pauses"]

_NEVER = 1_000_000  # collections of the middle generation before one of the oldest


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


def no_long_pauses() -> None:
    """Have the garbage collector look at young objects only, for the rest of the process.

    Else it would look at every command that waits for results whenever their number has grown by a quarter: a pause of
    0.2 s for 50,000 of them. They are in no cycles. Cycles that grow old are found by `give_back`.
    """
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _NEVER)


def give_back() -> None:
    """Return free memory to the system. Takes some milliseconds: call it after a burst, not in every turn."""
    if gc.get_threshold()[2] == _NEVER:  # else it looks at old objects by itself
        gc.collect()
    if _malloc_trim is not None:
        _malloc_trim(0)
