"""Wording and colours of the prompt: lines for `screen`, made from events and results.

Everything that others sent is cut where it is long, and escaped where it is unprintable. It knows no terminal and no
connection.
"""

from __future__ import annotations

from collections.abc import Iterator

from prompt_toolkit.utils import get_cwidth

from ...aio import Counts, Promoted, ReceivedCommand, Welcomed
from ...core.client.events import ExecuteRejected
from ...core.wire.codes import Cause, Status
from ..shared.event_lines import counts_text
from ..shared.wording import escaped
from .folding import Group, ranges
from .screen import Line

__all__ = [
    "HELP",
    "done",
    "fitted",
    "group_lines",
    "outline",
    "place",
    "promoted",
    "received",
    "rejected",
    "welcomed",
]

HELP = """\
COMMAND          for all below you
@next COMMAND    for the member directly below; @least: the least loaded one; @2: the one with rank 2
@NAME COMMAND    for the one with that name; @web-*, @1-5,8, @!db-*, @ticket:N: those
@@..., //...     a command that begins with @ or /
/who             list the members
/quit, Ctrl-D    leave
Ctrl-C           clears the line; on an empty one, stops waiting for results
Tab              completes targets, names and earlier commands; Ctrl-R searches them
""".splitlines()
"""The lines of /help."""

_PAYLOAD_BYTES = 1000
_LINE_CHARACTERS = 2000
_OUTPUT_LINES = 200
_BINARY_BYTES = 64
_RANGES_CHARACTERS = 60
_CAUSES = {
    Cause.LEFT: "a member above you left",
    Cause.LOST: "a member above you was lost",
    Cause.EVICTED: "a member above you was evicted",
    Cause.YIELDED: "a member above you stepped back",
}
_ENDS = {
    Status.FAILED: ("bad", "failed"),
    Status.REJECTED: ("warn", "rejected it"),
    Status.EXPIRED: ("warn", "did not answer in time"),
    Status.LEFT: ("warn", "left before it answered"),
}


def fitted(text: str, columns: int) -> str:
    """`text`, cut to a width of `columns`."""
    if get_cwidth(text) <= columns:
        return text
    kept, width = "", 1
    for character in text:
        width += get_cwidth(character)
        if width > columns:
            break
        kept += character
    return kept + "…" if columns > 0 else ""


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


def place(rank: int, members: int) -> str:
    """A rank, in words that a newcomer understands; empty for one in the middle."""
    if members == 1:
        return "you are alone here"
    return "nobody is above you" if rank == 0 else "nobody is below you" if rank == members - 1 else ""


def welcomed(event: Welcomed, again: bool) -> Line:
    """The line after joining."""
    where = place(event.rank, event.members)
    front = "Connected again: you are" if again else "You are"
    return [("news", f"{front} rank {event.rank} of {event.members}{': ' * bool(where)}{where}.")]


def promoted(event: Promoted) -> Line:
    """`You are rank 0 now, of 7: nobody is above you.`"""
    where = place(event.rank, event.members) if event.rank == 0 else ""
    colon = f": {where}" if where else ""
    return [
        ("news", f"You are rank {event.rank} now, of {event.members}{colon}."),
        ("dim", f" ({_CAUSES[event.cause]})"),
    ]


def received(command: ReceivedCommand) -> Line:
    """A command from a member above; a prompt executes it by showing it."""
    return [("rank", f"From rank {command.sender_rank}: "), ("", outline(command.payload))]


def rejected(event: ExecuteRejected) -> Line:
    """A command from a member that is not above."""
    return [
        ("warn", f"Rejected, rank {event.sender_rank} does not outrank you: "),
        ("", outline(event.payload)),
    ]


def group_lines(group: Group) -> Iterator[Line]:
    """The output of a group of executors."""
    names = ranges(group.ranks)
    if len(names) > _RANGES_CHARACTERS:
        names = f"{names[:_RANGES_CHARACTERS].rpartition(',')[0]}, … ({len(group.ranks):,} in all)"
    style, end = _ENDS.get(group.status, ("", ""))
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


def done(counts: Counts, command: str) -> Line:
    """The last line of a command: all executors have ended."""
    bad = counts.failed + counts.left
    style = "bad" if bad else "warn" if counts.rejected + counts.expired else "good"
    return [(style, counts_text(counts)), ("dim", f": {command}")]
