"""Events as lines for people, and the command lines that people type, at the prompt and without it.

It knows no connection.
"""

from __future__ import annotations

from ...core.client.events import ExecuteRejected, Promoted
from ...core.client.results import Counts, RoutedResult
from ...core.wire.codes import Cause, Status
from ...errors import ArgumentError
from .targets import Target, target_of
from .wording import shown

__all__ = ["counts_text", "parse_line", "promotion_text", "rejection_text", "result_text"]

_CAUSES = {
    Cause.LEFT: "left",
    Cause.LOST: "was lost",
    Cause.EVICTED: "was evicted",
    Cause.YIELDED: "stepped back",
}
_ENDS = {
    Status.FAILED: "failed",
    Status.REJECTED: "rejected it",
    Status.EXPIRED: "did not answer in time",
    Status.LEFT: "left before it answered",
    Status.CANCELLED: "was told to stop",
}


def promotion_text(event: Promoted) -> str:
    """A new rank, on one line."""
    cause = _CAUSES[event.cause]
    return f"New rank: {event.rank} of {event.member_count}, was {event.before} (a member above you {cause})"


def rejection_text(event: ExecuteRejected) -> str:
    """A command from a member that is not above us, on one line."""
    return f"Rejected, rank {event.sender_rank} does not outrank you: {shown(event.payload)}"


def result_text(result: RoutedResult) -> str:
    """A result on one line; empty for the end of an executor that gave no output."""
    text = shown(result.payload.removesuffix(b"\n"))
    if result.status in _ENDS:
        return f"Rank {result.rank} {_ENDS[result.status]}" + (f": {text}" if text else "")
    return f"Rank {result.rank}: {text}" if text else ""


def counts_text(counts: Counts) -> str:
    """`2 ok, 1 left`."""
    names = ("ok", "failed", "rejected", "expired", "left", "cancelled")
    return ", ".join(f"{number} {name}" for name in names if (number := getattr(counts, name))) or "nobody"


def parse_line(line: bytes) -> tuple[Target, bytes] | None:
    """Target and command of a line; None for an empty one. Raises ArgumentError for a line that is not understood.

    `@` and a target in front (`@next`, `@2`, `@web-*`, see `targets`) name the executors, else it is all; `@@` stands
    for one `@`. White space in front of a command belongs to it, as what it means may depend on it.
    """
    line = line.rstrip()
    if not line.lstrip().startswith(b"@"):
        return (target_of("all"), line) if line else None
    line = line.lstrip()
    if line.startswith(b"@@"):
        return target_of("all"), line[1:]
    word, _, command = line[1:].partition(b" ")
    name = shown(word)
    to = target_of(name)
    if not command:
        raise ArgumentError("the line", f"@{name}", f"expected a command after it, like '@{name} print'")
    return to, command
