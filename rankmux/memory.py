"""Memory that is free goes back to the system: the C library keeps a good part of it after a backlog, and for good."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

__all__ = ["give_back"]


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


def give_back() -> None:
    """Takes some milliseconds: for after a burst, not for every turn."""
    if _malloc_trim is not None:
        _malloc_trim(0)
