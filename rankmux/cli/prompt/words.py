"""Wording and colours of the prompt: lines for `screen`, made from events and results.

Everything that others sent is cut where it is long, and escaped where it is unprintable. It knows no terminal and no
connection.
"""

from __future__ import annotations

from prompt_toolkit.utils import get_cwidth

from ...aio import Counts, Promoted, ReceivedCommand, Welcomed
from ...core.client.events import ExecuteRejected
from ...core.wire.codes import Cause
from ..shared.event_lines import counts_text
from ..shared.group_lines import Line, outline

__all__ = [
    "HELP",
    "done",
    "fitted",
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

_CAUSES = {
    Cause.LEFT: "a member above you left",
    Cause.LOST: "a member above you was lost",
    Cause.EVICTED: "a member above you was evicted",
    Cause.YIELDED: "a member above you stepped back",
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


def place(rank: int, members: int) -> str:
    """A rank, in words that a newcomer understands; empty for one in the middle."""
    if members == 1:
        return "you are alone here"
    return "nobody is above you" if rank == 0 else "nobody is below you" if rank == members - 1 else ""


def welcomed(event: Welcomed, again: bool) -> Line:
    """The line after joining."""
    where = place(event.rank, event.member_count)
    front = "Connected again: you are" if again else "You are"
    return [("news", f"{front} rank {event.rank} of {event.member_count}{': ' * bool(where)}{where}.")]


def promoted(event: Promoted) -> Line:
    """`You are rank 0 now, of 7: nobody is above you.`"""
    where = place(event.rank, event.member_count) if event.rank == 0 else ""
    colon = f": {where}" if where else ""
    return [
        ("news", f"You are rank {event.rank} now, of {event.member_count}{colon}."),
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


def done(counts: Counts, command: str) -> Line:
    """The last line of a command: all executors have ended."""
    bad = counts.failed + counts.left
    style = "bad" if bad else "warn" if counts.rejected + counts.expired else "good"
    return [(style, counts_text(counts)), ("dim", f": {command}")]
