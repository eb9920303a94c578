"""The dialog of rankmux-top for throwing a member out: asks for a rank, then for a confirmation. Knows no connection.

The rank is turned into a ticket as soon as it is entered, so it does not matter who moves up meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["Kicking"]

_ENTER, _RUB_OUT, _GIVE_UP = ("\r", "\n"), ("\x7f", "\x08"), ("\x1b", "q", "n", "\x03", "\x04")
_DIGITS_MAX = 10


class Kicking:
    """One dialog. `line` is the text to show; `over` when it takes no more keys; `ticket` the member to throw out."""

    def __init__(self) -> None:
        self.over = False
        self.ticket = 0
        self._typed = ""
        self._row: dict[str, Any] | None = None
        self._trouble = ""

    @property
    def line(self) -> str:
        """The question."""
        if self._row is not None:
            name = self._row["name"] or "(no name)"
            who = f"{name}, rank {self._row['rank']}, ticket {self._row['ticket']}"
            return f"throw out {who}?   y yes   any other key no"
        trouble = f"   {self._trouble}" if self._trouble else ""
        return f"throw out the member with rank: {self._typed}_   Enter   q cancel{trouble}"

    def type(self, key: str, rows: Sequence[dict[str, Any]]) -> None:
        """Take a key; `rows` are the members in sight."""
        self._trouble = ""
        if self._row is not None:
            self.over = True
            self.ticket = self._row["ticket"] if key == "y" else 0
        elif key in _GIVE_UP:
            self.over = True
        elif key in _RUB_OUT:
            self._typed = self._typed[:-1]
        elif key in _ENTER:
            self._row = next((row for row in rows if self._typed and row["rank"] == int(self._typed)), None)
            if self._row is None:
                self._trouble = f"no rank {self._typed} in sight" if self._typed else "type a rank"
        elif key.isascii() and key.isdecimal() and len(self._typed) < _DIGITS_MAX:
            self._typed += key
