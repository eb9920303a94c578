"""The extras of the package, and how to get them: the one place to change on the day of a release."""

from __future__ import annotations

__all__ = ["how_to_get"]


def how_to_get(extra: str) -> str:
    """The command that installs what `rankmux[extra]` needs. Nothing is on an index yet: it takes a clone."""
    return f"pip install '.[{extra}]' in a clone of rankmux"
