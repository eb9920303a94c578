"""Text from elsewhere, made harmless to a terminal and to readers of lines."""

from __future__ import annotations

__all__ = ["escaped"]


def escaped(text: str) -> str:
    """`text` with unprintable characters, line breaks among them, written as in a Python literal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
