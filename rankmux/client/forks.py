"""The descriptors that a forked child does not keep.

A copy in a child would hold a connection open, and a file locked, when the parent that owns them has died: the server
would go on waiting for a member that is gone.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["close_in_children"]


class _Owner(Protocol):
    """The owner of a descriptor."""

    def close(self) -> None:
        """Close it; in a child, the copy alone."""


_owners: WeakSet[_Owner] = WeakSet()


def close_in_children(owner: _Owner) -> None:
    """Have `owner` closed in each child that is forked from now on."""
    _owners.add(owner)


def _close_copies() -> None:
    for owner in list(_owners):
        owner.close()
    _owners.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_copies)
