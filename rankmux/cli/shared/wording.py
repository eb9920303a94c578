"""Wording of rankmux-client: lines for people, and the command lines that people type.

Everything that others sent is shown with unprintable characters escaped, so that nobody else writes on the terminal.
It knows no connection. Events appear in annotations alone: to import them would cost `send` more than all else.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from ...core.wire.codes import U32_MAX, Cause, Status
from ...errors import ArgumentError, AuthError, ConnectionLost, ServerError
from .streams import Unwritable, put

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from ...core.client.arguments import To
    from ...core.client.events import ExecuteRejected, Promoted
    from ...core.client.sent import Counts, RoutedResult

__all__ = [
    "PROGRAM",
    "brief",
    "complain",
    "counted",
    "counts_text",
    "escaped",
    "line_breaks",
    "parse_line",
    "printed",
    "promotion_text",
    "rejection_text",
    "result_text",
    "shown",
    "unwritten",
    "why",
]

PROGRAM = "rankmux-client"

_BRIEF_MAX = 80
_BREAKS = frozenset("\0\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029\udc85")
"""What `str.splitlines` knows, and what ends a string in C. U+DC85 stands for the byte 85, a line break in Latin-1."""
_CAUSES = {Cause.LEFT: "left", Cause.LOST: "was lost", Cause.EVICTED: "was evicted"}
_ENDS = {
    Status.FAILED: "failed",
    Status.REJECTED: "rejected it",
    Status.EXPIRED: "did not answer in time",
    Status.LEFT: "left before it answered",
}

# output


def complain(text: str) -> None:
    """Write a line on standard error. A standard error that takes none changes nothing."""
    with suppress(Unwritable):
        put(sys.stderr, f"{PROGRAM}: {escaped(text)}\n")


def printed(text: str) -> int:
    """Write `text` on standard output; the exit code."""
    try:
        put(sys.stdout, text)
    except Unwritable as error:
        unwritten(error)
        return 1
    return 0


def unwritten(error: Unwritable) -> None:
    """Complain about a standard output that takes no more, unless its reader has closed it."""
    if not error.reader_gone:
        complain(f"cannot write to standard output: {error}")


# pieces of text


def shown(payload: bytes) -> str:
    """The payload as one printable line."""
    return escaped(payload.decode(errors="backslashreplace"))


def escaped(text: str) -> str:
    """`text` with unprintable characters written as in a Python literal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def line_breaks(text: str) -> list[str]:
    """Everything in `text` that some reader takes for the end of a line: more than a newline, and NUL."""
    return [character for character in text if character in _BREAKS]


def brief(payload: bytes) -> str:
    """The beginning of a command, on one line."""
    text = shown(payload[: _BRIEF_MAX + 1])
    return text if len(text) <= _BRIEF_MAX else text[: _BRIEF_MAX - 1] + "…"


def counted(members: object) -> str:
    """`1 member`, `2 members`."""
    return "1 member" if members == 1 else f"{members} members"


# events


def why(error: Exception) -> str:
    """The reason for a missing connection, on one line."""
    if isinstance(error, ServerError):
        hint = "; set the token with --token-file" if isinstance(error, AuthError) else ""
        return f"the server closed the connection: {escaped(error.text)}{hint}"
    return escaped(error.reason if isinstance(error, ConnectionLost) else str(error))


def promotion_text(event: Promoted) -> str:
    """A new rank, on one line."""
    cause = _CAUSES[event.cause]
    return f"New rank: {event.rank} of {event.members}, was {event.before} (a member above you {cause})"


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
    names = ("ok", "failed", "rejected", "expired", "left")
    return ", ".join(f"{number} {name}" for name in names if (number := getattr(counts, name))) or "nobody"


# command lines


def parse_line(line: bytes) -> tuple[To, bytes] | None:
    """Target and command of a line; None for an empty one. Raises ArgumentError for a line that is not understood.

    `@next`, `@least`, `@RANK` or `@all` in front names the target, else it is all; `@@` stands for one `@`.
    """
    line = line.strip()
    if not line.startswith(b"@"):
        return ("all", line) if line else None
    if line.startswith(b"@@"):
        return "all", line[1:]
    word, _, command = line[1:].partition(b" ")
    name, command = shown(word), command.strip()
    if name in {"all", "next", "least"}:
        to: To = name
    elif name.isascii() and name.isdecimal() and len(name) <= 10 and int(name) <= U32_MAX:
        to = int(name)
    else:
        raise ArgumentError("the target", f"@{name}", "expected @all, @next, @least or @ and a rank")
    if not command:
        raise ArgumentError("the line", f"@{name}", f"expected a command after it, like '@{name} print'")
    return to, command
