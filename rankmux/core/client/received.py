"""Received commands and their results, for both clients.

It turns a handler's return value or exception into a status and a payload, and cuts long output into pieces that fit a
frame. Nothing here knows a socket or a thread; the clock comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...errors import StateError
from ..wire.codes import Status
from .arguments import Payload, payload_of
from .events import ExecuteReceived

__all__ = [
    "ExecutedCommand",
    "Rejected",
    "Returned",
    "pieces",
    "reject",
    "result_of",
    "status_of",
]

Returned = bytes | bytearray | memoryview | str | None
"""A handler's return value, the payload of the RESULT: text goes out as UTF-8, None as an empty payload."""


class Rejected(Exception):
    """Raise it in a handler to answer REJECTED (section 6), with its text as the payload: "I do not run this"."""


def reject(command: object) -> None:  # noqa: ARG001 - a handler takes the command
    """The handler of a client that executes nothing: it answers REJECTED to every command (section 6)."""
    raise Rejected("this client executes nothing")


def result_of(value: object) -> bytes:
    """The payload of a handler's return value; raises TypeError when it is of no type that can be sent."""
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"the handler returned {type(value).__name__}: expected bytes, str or None")


def status_of(error: BaseException) -> tuple[Status, bytes]:
    """The status and payload of a handler's exception."""
    if isinstance(error, Rejected):
        return Status.REJECTED, str(error).encode(errors="replace")
    text = ": ".join(filter(None, (type(error).__name__, str(error))))
    return Status.FAILED, text.encode(errors="replace")


def pieces(payload: bytes, limit: int) -> Iterator[tuple[bytes, bool]]:
    """Cut `payload` into pieces of at most `limit` bytes, each with whether it is the last; at least one piece."""
    size = max(limit, 1)
    for start in range(0, len(payload) - size, size):
        yield payload[start : start + size], False
    tail = len(payload) % size or min(size, len(payload))
    yield payload[len(payload) - tail :], True


class ExecutedCommand:
    """A command to run, and its result. The drivers add the sending, and a clock in seconds.

    Users see this class: what is for the drivers alone begins with an underscore.
    """

    _CONNECTED = frozenset({"_driver"})
    # Most commands never set these.
    _finished = False
    _cancelled = False
    _copied = False
    _on_cancel: Callable[[], object] | None = None

    def __init__(
        self, event: ExecuteReceived, received_s: float, max_payload: int, clock: Callable[[], float]
    ) -> None:
        self._event = event
        self._received_s = received_s
        self._max_payload = max_payload
        self._clock = clock

    def __getstate__(self) -> dict[str, Any]:
        """The facts alone, for a process pool: a copy cannot answer, as the connection stays where it is."""
        facts = {name: fact for name, fact in vars(self).items() if name not in self._CONNECTED}
        return {**facts, "_on_cancel": None, "_copied": True}

    def __repr__(self) -> str:
        return f"<ReceivedCommand {self.seq} of rank {self.sender_rank}: {self.payload[:32]!r}>"

    @property
    def seq(self) -> int:
        """Its place in the server's order (section 1)."""
        return self._event.seq

    @property
    def sender_rank(self) -> int:
        """The sender's rank at dispatch; smaller than `rank`."""
        return self._event.sender_rank

    @property
    def rank(self) -> int:
        """This client's rank at dispatch."""
        return self._event.rank

    @property
    def wants_result(self) -> bool:
        """Whether the sender waits for a result."""
        return self._event.wants_result

    @property
    def payload(self) -> bytes:
        """The bytes of the command."""
        return self._event.payload

    @property
    def text(self) -> str:
        """The payload as UTF-8 text; bytes that are not UTF-8 show as U+FFFD."""
        return self._event.payload.decode(errors="replace")

    def seconds_left(self) -> float | None:
        """The seconds that the sender still waits, at least 0.0; None: without limit."""
        if not self._event.ttl_ms:
            return None
        return max(0.0, self._received_s + self._event.ttl_ms / 1000 - self._clock())

    @property
    def finished(self) -> bool:
        """Whether `finish` has been called."""
        return self._finished

    @property
    def cancelled(self) -> bool:
        """Whether the sender has cancelled it: stop; nothing is sent for it any more (section 6)."""
        return self._cancelled

    def _cancel(self) -> None:
        """The server's word that the sender has cancelled it."""
        self._cancelled = True
        if self._on_cancel is not None:
            self._on_cancel()

    def _partial(self, output: Payload) -> Iterator[tuple[Status, bytes]]:
        """The partial results to send for `output`; none where no result is wanted."""
        self._check_original()
        if self._finished:
            raise StateError("sending output", "the command has its final result")
        data = payload_of(output)
        if not self.wants_result or self._cancelled or not data:
            return iter(())
        return ((Status.PART, piece) for piece, _ in pieces(data, self._max_payload))

    def _final(self, status: Status, output: Payload) -> Iterator[tuple[Status, bytes]]:
        """The results to send for the end, the last with `status`; there is no other from now on."""
        self._check_original()
        if self._finished:
            raise StateError("sending a final result", "the command has one already")
        data = payload_of(output)
        self._finished = True
        if not self.wants_result or self._cancelled:
            return iter(())
        if len(data) <= self._max_payload:
            return iter(((status, data),))
        return ((status if last else Status.PART, piece) for piece, last in pieces(data, self._max_payload))

    def _check_original(self) -> None:
        if self._copied:
            raise StateError(
                "answering a copy of a command",
                "only the process that received it can answer it: return the result there",
            )
