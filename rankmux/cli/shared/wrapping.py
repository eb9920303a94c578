"""Lines broken at spaces to fit a terminal, so that it breaks none within a word. Knows no terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .group_lines import Line

__all__ = ["wrapped"]

_FRONT = re.compile(r" *(\S.*?  +)?")
"""An indent, and a term with two spaces behind it: further lines begin below what comes next."""


def wrapped(line: Line, columns: int, width_of: Callable[[str], int] = len) -> Iterator[Line]:
    """`line` in lines of at most `columns`; a word that is wider stays whole. `width_of` measures a text."""
    text = "".join(piece for _, piece in line)
    if width_of(text) <= columns:
        yield line
        return
    front = _FRONT.match(text)
    indent = min(width_of(front[0]) if front else 0, columns // 2)
    start, margin = 0, 0
    while True:
        end = _end(text, start, columns, margin, width_of)
        yield [("", " " * margin)] * bool(margin) + _part(line, start, end)
        start = end + len(text[end:]) - len(text[end:].lstrip(" "))
        if start >= len(text):
            return
        wide = width_of(text[start:].partition(" ")[0])
        margin = indent if wide > columns else min(indent, columns - wide)


def _end(text: str, start: int, columns: int, margin: int, width_of: Callable[[str], int]) -> int:
    """Where a line that begins at `start` ends: at the last space that fits, unless a word comes that never does."""
    word = start + len(text[start:]) - len(text[start:].lstrip(" "))
    last, width = -1, margin
    for at in range(start, len(text)):
        if text[at] == " " and at > word:
            last = at
        width += width_of(text[at])
        if width > columns and last >= 0:
            if width_of(text[last + 1 :].partition(" ")[0]) <= columns:
                return last
            last = -1  # a line of its own would be too short for that word, too
        if width > columns:  # a wide word: the terminal goes on with it in its next line
            width -= columns
    return len(text)


def _part(line: Line, start: int, end: int) -> Line:
    """The characters from `start` to `end`, with their styles."""
    part: Line = []
    at = 0
    for style, piece in line:
        if cut := piece[max(0, start - at) : max(0, end - at)]:
            part.append((style, cut))
        at += len(piece)
    return part
