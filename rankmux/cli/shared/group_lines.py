"""Outputs of executors and commands as lines for people, cut where they are long, and escaped where unprintable.

A line is a list of styles, by name, and texts. It knows no terminal and no connection.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...core.wire.codes import Status
from ...system.printable import escaped
from .folding import Group, ranges

__all__ = ["Line", "group_lines", "outline"]

Line = list[tuple[str, str]]
"""A line of output: pieces of text, each with the name of its style."""

_PAYLOAD_BYTES = 1000
_LINE_CHARACTERS = 2000
_OUTPUT_LINES = 200
_BINARY_BYTES = 64
_RANGES_CHARACTERS = 60
_NAMES_CHARACTERS = 60
_ENDS = {
    Status.FAILED: ("bad", "failed"),
    Status.REJECTED: ("warn", "rejected it"),
    Status.EXPIRED: ("warn", "did not answer in time"),
    Status.LEFT: ("warn", "left before it answered"),
    Status.CANCELLED: ("warn", "was told to stop"),
}


def outline(payload: bytes) -> str:
    """A command on one line; of a long one, the beginning and the number of further bytes."""
    rest = len(payload) - _PAYLOAD_BYTES
    text = escaped(_text(payload[:_PAYLOAD_BYTES], rest > 0))
    return f"{text}… {rest:,} more bytes" if rest > 0 else text


def _text(head: bytes, cut: bool) -> str:
    if cut:  # in the middle of a character, perhaps
        start = next((i for i in range(1, 4) if len(head) >= i and head[-i] >= 0xC0), 0)
        head = head[:-start] if start else head
    return head.decode(errors="backslashreplace")


def _lines(head: bytes, size: int) -> Iterator[str]:
    if not head:
        yield f"{size:,} bytes"
        return
    if b"\0" in head:
        more = "…" if size > _BINARY_BYTES else ""
        yield f"{size:,} bytes, not text: {escaped(_text(head[:_BINARY_BYTES], False))}{more}"
        return
    rest = size - len(head)
    lines = _text(head, rest > 0).removesuffix("\n").split("\n")
    for line in lines[:_OUTPUT_LINES]:
        text = escaped(line.removesuffix("\r").expandtabs())
        over = len(text) - _LINE_CHARACTERS
        yield f"{text[:_LINE_CHARACTERS]}… {over:,} more characters" if over > 0 else text
    if len(lines) > _OUTPUT_LINES:
        yield f"… {len(lines) - _OUTPUT_LINES:,} more lines" + (f" and {rest:,} bytes" if rest else "")
    elif rest:
        yield f"… {rest:,} more bytes"


def group_lines(group: Group) -> Iterator[Line]:
    """The output of a group of executors."""
    names = ranges(group.ranks)
    if len(names) > _RANGES_CHARACTERS:
        names = f"{names[:_RANGES_CHARACTERS].rpartition(',')[0]}, … ({len(group.ranks):,} in all)"
    style, end = _ENDS.get(group.status, ("", ""))
    known = ", ".join(map(escaped, group.names))
    if known and len(known) <= _NAMES_CHARACTERS and len(group.names) == len(group.ranks):
        names += f" {known}" if len(group.names) == 1 else f" ({known})"
    front: Line = [("rank", names)]
    if end:
        front.append((style, f" {end}"))
    lines = list(_lines(group.head, group.size)) if group.size else []
    if not lines:
        yield front
    elif len(lines) == 1:
        yield [*front, ("", f": {lines[0]}")]
    else:
        yield [*front, ("", ":")]
        yield from ([("", f"  {line}")] for line in lines)
