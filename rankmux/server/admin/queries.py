"""The values in the query of a request to the admin endpoint."""

from __future__ import annotations

__all__ = ["BadQuery", "number"]


class BadQuery(Exception):
    """A value is not what it should be; the text says which, and what is expected."""


def number(query: dict[str, str], key: str, default: int, digits: int = 15) -> int:
    """The whole number `key`. Raises BadQuery."""
    text = query.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise BadQuery(f"{key}: expected a whole number")
    return int(text)
