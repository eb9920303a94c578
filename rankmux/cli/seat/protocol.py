"""Control protocol of a held seat, as bytes: requests of `send` and `who`, replies of the process that holds the seat.

Both directions are a stream of frames. A frame is one line of JSON, an object of at most 4,096 bytes with its newline;
if it has a `size`, a payload of that many bytes follows the newline. Any other input ends the connection.

    seat:    {"is": "seat", "version": 1, "rank": 0, "ticket": 7, "member_count": 3, "max_payload": 65536}
             first of all; rank and the rest are null while the seat is not connected to its server
    sender:  {"do": "command", "id": 1, "to": "all", "results": true, "ttl_ms": 5000, "size": 5}  and 5 bytes
             `to` is "all", "next", "least", or the number n of executors, whose tickets are the first 8 * n bytes;
             the sender chooses `id`, one that none of its open commands has
             {"do": "cancel", "id": 1}  end that command for the executors that have not ended; its `done` follows
             {"do": "who", "id": 2}
             {"do": "yield", "id": 4}  give up the rank
             {"do": "baton", "id": 5, "write": true, "size": 4}  and a note; without `write`, read it
             {"do": "watch", "id": 3}  the list, and each change of it from then on; once in a connection
    seat:    {"is": "accepted", "id": 1, "seq": 42, "executors": 2, "rejected": 0, "absent": 0}
             {"is": "result", "id": 1, "rank": 1, "ticket": 8, "status": "part", "size": 4}  and 4 bytes
             `status` is "part", or the end of that executor: "ok", "failed", "rejected", "expired", "left", "cancelled"
             {"is": "done", "id": 1, "ok": 2, "failed": 0, "rejected": 0, "expired": 0, "left": 0, "cancelled": 0}
             {"is": "refused", "id": 1, "code": 1, "size": 23}  and a text: nobody got it
             {"is": "unsent", "id": 1, "size": 9}  and a text: the seat could not send it, nobody got it
             {"is": "lost", "id": 1, "size": 9}  and a text: the connection ended first, the outcome is not known
             {"is": "members", "id": 2, "size": 99}  and a JSON list of objects, the fields of MEMBERS
             {"is": "changed", "id": 3, "seq": 43, "what": "joined", "ticket": 9, "rank": 2, "member_count": 3,
              "name": "x"}
             `what` is "joined", "left", "lost", "evicted", "absent", "back" or "yielded"
             {"is": "yielded", "id": 4, "rank": 2}
             {"is": "baton", "id": 5, "size": 4}  and the note
             {"is": "error", "size": 9}  and a text: the sender broke a rule; the seat closes

A command without results ends with `accepted` and cannot be cancelled, one with results with `done`, both with
`refused`, `unsent` or `lost`.
A sender that closes its connection gets no more replies. This module knows no socket.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ...errors import CommandRefused, RankmuxError

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from ...core.client.events import LineChanged
    from ...core.client.results import Counts, RoutedResult
    from ...core.client.sent import SentCommand
    from ...core.wire.frames import MemberInfo

__all__ = [
    "ENDS",
    "HEADER_MAX_BYTES",
    "TICKET_BYTES",
    "VERSION",
    "ControlError",
    "FrameReader",
    "Header",
    "accepted",
    "changed",
    "done",
    "encoded",
    "ended",
    "listed",
    "result",
    "tickets_and_payload",
    "tickets_before",
]

VERSION = 1
HEADER_MAX_BYTES = 4096
ENDS = ("ok", "failed", "rejected", "expired", "left", "cancelled")
"""The ways in which an executor ends."""
TICKET_BYTES = 8

Header = Mapping[str, object]

# replies


def accepted(id_: int, command: SentCommand) -> Header:
    """The server has dispatched the command."""
    return {
        "is": "accepted",
        "id": id_,
        "seq": command.seq,
        "executors": command.executors,
        "rejected": command.rejected,
        "absent": command.absent,
    }


def result(id_: int, result: RoutedResult) -> Header:
    """An executor sent output, or ended; its payload follows."""
    return {
        "is": "result",
        "id": id_,
        "rank": result.rank,
        "ticket": result.ticket,
        "status": result.status.name.lower(),
    }


def done(id_: int, counts: Counts) -> Header:
    """All executors have ended."""
    return {"is": "done", "id": id_, **{end: getattr(counts, end) for end in ENDS}}


def ended(id_: int, error: Exception, *, sent: bool) -> tuple[Header, bytes]:
    """The command ended with `error`; `sent`: some of it may have reached the server."""
    if isinstance(error, CommandRefused):
        return {"is": "refused", "id": id_, "code": error.code}, error.text.encode()
    return {"is": "lost" if sent else "unsent", "id": id_}, str(error).encode()


def listed(id_: int, members: list[MemberInfo]) -> tuple[Header, bytes]:
    """The list of members."""
    return {"is": "members", "id": id_}, json.dumps([member._asdict() for member in members]).encode()


def changed(id_: int, change: LineChanged) -> Header:
    """The line of members has changed."""
    fields = ("seq", "ticket", "rank", "member_count", "name")
    about = {field: getattr(change, field) for field in fields}
    return {"is": "changed", "id": id_, "what": change.what.name.lower(), **about}


# executors by ticket


def tickets_before(payload: bytes, tickets: tuple[int, ...]) -> bytes:
    """The payload of a command to members by ticket."""
    return b"".join(ticket.to_bytes(TICKET_BYTES) for ticket in tickets) + payload


def tickets_and_payload(count: int, data: bytes) -> tuple[tuple[int, ...], bytes]:
    """The `count` tickets and the rest of such a payload. Raises ControlError."""
    size = count * TICKET_BYTES
    if not 0 < size <= len(data):
        raise ControlError(f"to is {count}: expected as many tickets in front of the payload")
    starts = range(0, size, TICKET_BYTES)
    return tuple(int.from_bytes(data[at : at + TICKET_BYTES]) for at in starts), data[size:]


# frames


class ControlError(RankmuxError):
    """The peer's bytes break the control protocol."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text


def encoded(header: Header, payload: bytes = b"") -> bytes:
    """The bytes of a frame; `size` is added where there is a payload."""
    whole = {**header, "size": len(payload)} if payload else header
    return json.dumps(whole, separators=(",", ":")).encode() + b"\n" + payload


class FrameReader:
    """Cuts a stream into frames with payloads of at most `payload_max` bytes."""

    def __init__(self, payload_max: int) -> None:
        self._payload_max = payload_max
        self._data = bytearray()
        self._header: Header | None = None
        self._size = 0

    def receive_data(self, data: bytes) -> Iterator[tuple[Header, bytes]]:
        """Take bytes and yield the frames that they complete. Raises ControlError and must not be used again then."""
        self._data += data
        while True:
            if self._header is None:
                end = self._data.find(b"\n", 0, HEADER_MAX_BYTES)
                if end < 0:
                    if len(self._data) >= HEADER_MAX_BYTES:
                        raise ControlError(f"a line is longer than {HEADER_MAX_BYTES} bytes")
                    return
                self._header, self._size = self._parsed(bytes(self._data[:end]))
                del self._data[: end + 1]
            if len(self._data) < self._size:
                return
            header, payload = self._header, bytes(self._data[: self._size])
            del self._data[: self._size]
            self._header = None
            yield header, payload

    def _parsed(self, line: bytes) -> tuple[Header, int]:
        try:
            header = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ControlError("a line is not JSON") from error
        if not isinstance(header, dict):
            raise ControlError("a line is not a JSON object")
        size = header.get("size", 0)
        if type(size) is not int or not 0 <= size <= self._payload_max:
            raise ControlError(f"size is {size!r}: expected a number from 0 to {self._payload_max}")
        return header, size
