"""The part of the members that rankmux-top shows, and the keys that change it. Knows no connection and no screen."""

from __future__ import annotations

__all__ = ["View"]

_BY_KEY = {"r": "rank", "l": "load", "u": "queue", "a": "age", "t": "activity"}
_STEPS = {  # lines and pages to move by; terminals write the arrow keys in two ways
    "j": (1, 0),
    "\x1b[B": (1, 0),
    "\x1bOB": (1, 0),
    "k": (-1, 0),
    "\x1b[A": (-1, 0),
    "\x1bOA": (-1, 0),
    " ": (0, 1),
    "\x1b[6~": (0, 1),
    "b": (0, -1),
    "\x1b[5~": (0, -1),
}
_BEGINNING = ("g", "\x1b[H", "\x1bOH", "\x1b[1~")
_END = ("G", "\x1b[F", "\x1bOF", "\x1b[4~")
_ENTER, _RUB_OUT, _GIVE_UP = ("\r", "\n"), ("\x7f", "\x08"), ("\x1b", "\x03", "\x04")
_FIND_MAX = 64


class View:
    """The members from `first` on of those that `find` is in, in the order of `sort`, or in the `reverse` of it.

    `typing`: the keys go into `find`.
    """

    def __init__(self, sort: str, find: str = "", *, reverse: bool = False) -> None:
        self.sort = sort
        self.reverse = reverse
        self.find = find
        self.first = 0
        self.typing = False

    def clamp(self, found: int) -> None:
        """There are `found` members: stay among them."""
        self.first = max(0, min(self.first, found - 1))

    def type(self, key: str, rows: int, found: int) -> bool:
        """Take a key, with `rows` in sight of `found` members; whether it means anything."""
        if self.typing:
            self._type(key)
        elif key == "/":
            self.typing = True
        elif key in _BY_KEY:
            self.sort, self.first = _BY_KEY[key], 0
        elif key == "R":
            self.reverse, self.first = not self.reverse, 0
        elif key in _STEPS:
            lines, pages = _STEPS[key]
            at = self.first + lines + pages * rows
            self.first = min(at, max(self.first, found - rows)) if at > self.first else at  # down to the end
        elif key in _BEGINNING:
            self.first = 0
        elif key in _END:
            self.first = max(0, found - rows)
        else:
            return False
        self.clamp(found)
        return True

    def _type(self, key: str) -> None:
        if key in _ENTER:
            self.typing = False
            return
        if key in _GIVE_UP:
            self.typing, self.find = False, ""
        elif key in _RUB_OUT:
            self.find = self.find[:-1]
        elif key.isprintable() and len(self.find) < _FIND_MAX:
            self.find += key
        self.first = 0

    @property
    def line(self) -> str:
        """What is being typed."""
        return f"find: {self.find}_   Enter keep   Esc show all"

    def position(self, shown: int, found: int) -> str:
        """Which part is in sight: `0-19 of 200`; ranks and places count from 0."""
        if not found:
            return f'nobody has "{self.find}" in name, address, rank or ticket' if self.find else ""
        last = self.first + shown - 1
        part = f"{self.first}-{last}" if last > self.first else str(self.first)
        what = "rank" if self.sort == "rank" and not (self.find or self.reverse) else "place"
        kind = f' with "{self.find}"' if self.find else ""
        return f"{what}{'s' if last > self.first else ''} {part} of 0-{found - 1}{kind}"
