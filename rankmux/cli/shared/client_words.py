"""The words of rankmux-client: lines that a person types, and lines that tell what has happened.

What others sent is shown with everything unprintable escaped, so that nobody writes on our terminal. It knows no
terminal, no socket and no connection.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...core.client.arguments import To
from ...core.client.events import (
    CommandAccepted,
    CommandDone,
    ExecuteReceived,
    ExecuteRejected,
    Promoted,
    RefusalReceived,
    ResultRouted,
)
from ...core.wire.codes import U32_MAX, Cause, Status
from ...errors import ArgumentError

__all__ = ["counts", "escaped", "parse_line", "shown", "tell"]

_CAUSES = {Cause.LEFT: "left", Cause.LOST: "was lost", Cause.EVICTED: "was thrown out"}
_ENDS = {
    Status.FAILED: "failed",
    Status.REJECTED: "rejected it",
    Status.EXPIRED: "did not answer in time",
    Status.LEFT: "left before it answered",
}


def parse_line(line: bytes) -> tuple[To, bytes] | None:
    """Whom a line commands, and what; None for an empty one. Raises ArgumentError when it is not understood.

    `@next`, `@least`, `@RANK` or `@all` in front says whom, else it is for all; `@@` stands for one `@`.
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
        raise ArgumentError("the target", f"@{name}", "@all, @next, @least or @ and a rank is expected")
    if not command:
        raise ArgumentError("the line", f"@{name}", f"a command is expected behind it, like '@{name} print'")
    return to, command


def shown(payload: bytes) -> str:
    """The payload as one printable line."""
    return escaped(payload.decode(errors="backslashreplace"))


def escaped(text: str) -> str:
    """`text` with everything unprintable as in a Python literal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _members(count: int) -> str:
    return f"{count} member" if count == 1 else f"{count} members"


def tell(event: object, command: str = "") -> Iterator[str]:
    """The lines that tell of `event`; `command` is the text of the command of ours that it is about."""
    match event:
        case ExecuteReceived():
            yield f"Received from rank {event.sender_rank}: {shown(event.payload)}"
        case ExecuteRejected():
            yield f"Rejected, rank {event.sender_rank} does not outrank you: {shown(event.payload)}"
        case Promoted():
            cause = _CAUSES[event.cause]
            yield f"New rank: {event.rank} of {event.members}, was {event.before} (a member before you {cause})"
        case CommandAccepted():
            yield f"Sent to {_members(event.executors)}: {command}"
            if event.rejected:
                yield f"Rejected for {_members(event.rejected)} above you: {command}"
        case RefusalReceived():
            yield f"Refused, {shown(event.text.encode())}: {command}"
        case ResultRouted():
            yield from _tell_result(event)
        case CommandDone():
            yield f"Done, {counts(event)}: {command}"
        case _:
            pass


def _tell_result(event: ResultRouted) -> Iterator[str]:
    text = shown(event.payload.removesuffix(b"\n"))
    if event.status in _ENDS:
        yield f"Rank {event.rank} {_ENDS[event.status]}" + (f": {text}" if text else "")
    elif text:
        yield f"Rank {event.rank}: {text}"


def counts(event: CommandDone) -> str:
    """`2 ok, 1 left`."""
    numbers = (
        (event.ok, "ok"),
        (event.failed, "failed"),
        (event.rejected, "rejected"),
        (event.expired, "expired"),
        (event.left, "left"),
    )
    return ", ".join(f"{number} {word}" for number, word in numbers if number) or "nobody"
