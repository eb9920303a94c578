"""A command that was received, and what its handler makes of it; the part that both drivers share.

It turns return values and exceptions into a status and a payload, and cuts long output into what one frame may carry.
Nothing here knows a socket or a thread; the clock comes in as an argument.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from .client_events import ExecuteReceived
from .codes import Status

__all__ = [
    "Rejected",
    "Returned",
    "pieces",
    "reject",
    "report_failure",
    "report_lateness",
    "result_of",
    "status_of",
]

log = logging.getLogger("rankmux.client")

Returned = bytes | bytearray | memoryview | str | None
"""What a handler may return: the payload of the RESULT; text goes out as UTF-8, None as nothing."""


class Rejected(Exception):
    """Raise it in a handler to answer REJECTED, "I do not run this", with its text as the payload."""


def reject(command: object) -> None:  # noqa: ARG001 - a handler takes the command
    """The handler of a client that executes nothing: it answers REJECTED to everything."""
    raise Rejected("this client executes nothing")


def result_of(value: object) -> bytes:
    """The payload for what a handler returned; raises TypeError when it is nothing that can be sent."""
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"the handler returned {type(value).__name__}: bytes, str or None is expected")


def status_of(error: Exception) -> tuple[Status, bytes]:
    """The answer for what a handler raised."""
    if isinstance(error, Rejected):
        return Status.REJECTED, str(error).encode(errors="replace")
    text = ": ".join(filter(None, (type(error).__name__, str(error))))
    return Status.FAILED, text.encode(errors="replace")


def report_failure(command: ExecuteReceived, error: Exception, took_s: float) -> None:
    """Log what a handler did wrong; `took_s` is how long it ran."""
    if not isinstance(error, Rejected):
        log.error(
            "the handler failed for command %d of rank %d", command.seq, command.sender_rank, exc_info=error
        )
    if command.ttl_ms and took_s * 1000 > command.ttl_ms:
        report_lateness(command, took_s)


def report_lateness(command: ExecuteReceived, took_s: float) -> None:
    """Log that an answer came after its command had expired."""
    log.warning(
        "the handler took %.1f s for command %d, which expired after %.1f s: its answer came too late",
        took_s,
        command.seq,
        command.ttl_ms / 1000,
    )


def pieces(payload: bytes, limit: int) -> Iterator[tuple[bytes, bool]]:
    """Cut `payload` into what single frames may carry, with whether it is the last; at least one piece."""
    size = max(limit, 1)
    for start in range(0, len(payload) - size, size):
        yield payload[start : start + size], False
    tail = len(payload) % size or min(size, len(payload))
    yield payload[len(payload) - tail :], True
