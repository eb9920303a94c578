"""A command that was received, and what its handler makes of it; the part that both drivers share.

It turns return values and exceptions into a status and a payload, and cuts long output into what one frame may carry.
Nothing here knows a socket or a thread; the clock comes in as an argument.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from ...errors import CommandRefused, StateError
from ..wire.codes import Status
from .arguments import Payload, payload_of
from .events import ExecuteReceived

__all__ = [
    "ExecutedCommand",
    "Rejected",
    "Returned",
    "pieces",
    "reject",
    "report_expired",
    "report_failure",
    "report_lateness",
    "report_refusal",
    "report_turned_away",
    "report_unsent",
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


def status_of(error: BaseException) -> tuple[Status, bytes]:
    """The answer for what a handler raised."""
    if isinstance(error, Rejected):
        return Status.REJECTED, str(error).encode(errors="replace")
    text = ": ".join(filter(None, (type(error).__name__, str(error))))
    return Status.FAILED, text.encode(errors="replace")


def report_failure(command: ExecuteReceived, error: BaseException, took_s: float) -> None:
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


def report_expired(command: ExecuteReceived) -> None:
    """Log that a command was not run."""
    log.warning("command %d was not run: it waited here until it expired", command.seq)


def report_unsent(command: ExecuteReceived, error: Exception) -> None:
    """Log that nobody will learn what came of a command."""
    log.warning("the result of command %d was not sent: %s", command.seq, error)


def report_refusal(refusal: CommandRefused) -> None:
    """Log what the server said of a quiet command that nobody waits for."""
    log.warning("a quiet command: %s", refusal)


def report_turned_away(count: int) -> None:
    """Log that commands came that could not be kept; nothing for 0."""
    if count:
        log.warning("%d commands were turned away: too many wait, and nothing runs them", count)


def pieces(payload: bytes, limit: int) -> Iterator[tuple[bytes, bool]]:
    """Cut `payload` into what single frames may carry, with whether it is the last; at least one piece."""
    size = max(limit, 1)
    for start in range(0, len(payload) - size, size):
        yield payload[start : start + size], False
    tail = len(payload) % size or min(size, len(payload))
    yield payload[len(payload) - tail :], True


class ExecutedCommand:
    """A command to run, and what is to be sent for it. The drivers add the sending, and a clock in seconds."""

    def __init__(
        self, event: ExecuteReceived, received_s: float, max_payload: int, clock: Callable[[], float]
    ) -> None:
        self._event = event
        self._received_s = received_s
        self._max_payload = max_payload
        self._clock = clock
        self._finished = False

    def __repr__(self) -> str:
        return f"<ReceivedCommand {self.seq} of rank {self.sender_rank}: {self.payload[:32]!r}>"

    @property
    def event(self) -> ExecuteReceived:
        """All of it, as it came."""
        return self._event

    @property
    def seq(self) -> int:
        """Its place in the one order of everything (section 1)."""
        return self._event.seq

    @property
    def sender_rank(self) -> int:
        """The rank of who sent it, at dispatch; smaller than `rank`."""
        return self._event.sender_rank

    @property
    def rank(self) -> int:
        """Our own rank at dispatch."""
        return self._event.rank

    @property
    def wants_result(self) -> bool:
        """Whether the sender waits for a result."""
        return self._event.wants_result

    @property
    def payload(self) -> bytes:
        """The command itself."""
        return self._event.payload

    @property
    def text(self) -> str:
        """The payload as UTF-8 text; what is not UTF-8 shows as U+FFFD."""
        return self._event.payload.decode(errors="replace")

    def seconds_left(self) -> float | None:
        """How long the sender still waits, at least 0.0; None for as long as it takes."""
        if not self._event.ttl_ms:
            return None
        return max(0.0, self._received_s + self._event.ttl_ms / 1000 - self._clock())

    @property
    def finished(self) -> bool:
        """Whether the final result has been given."""
        return self._finished

    def _partial(self, output: Payload) -> Iterator[tuple[Status, bytes]]:
        """What to send for `output` before the end: statuses and payloads, none where no result is wanted."""
        if self._finished:
            raise StateError("sending output", "the command has its final result")
        data = payload_of(output)
        if not self.wants_result or not data:
            return iter(())
        return ((Status.PART, piece) for piece, _ in pieces(data, self._max_payload))

    def _final(self, status: Status, output: Payload) -> Iterator[tuple[Status, bytes]]:
        """What to send for the end; there is no other from now on."""
        if self._finished:
            raise StateError("sending a final result", "the command has one already")
        data = payload_of(output)
        self._finished = True
        if not self.wants_result:
            return iter(())
        return ((status if last else Status.PART, piece) for piece, last in pieces(data, self._max_payload))
