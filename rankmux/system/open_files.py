"""The limit of open files of the process, and how many of them a server needs beside its connections."""

from __future__ import annotations

import resource
import sys

__all__ = ["RESERVED_FILES", "open_files_max"]

RESERVED_FILES = 96
"""Descriptors for everything but members and observers."""


def open_files_max() -> int:
    """How many files the process may have open now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
