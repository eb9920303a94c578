"""Channels from `send` and `who` to a seat: a held one, or one that `send` joins for itself.

Both block, and give replies as `protocol` has them. A seat of one's own is the last in line; it executes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import socket

from ...errors import CommandRefused, ConnectionLost, RankmuxError
from ..shared.flags import SEAT_VARIABLE
from ..shared.wording import shown
from . import protocol
from .protocol import ControlError, FrameReader, Header

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...client.client import Client
    from ...client.receipt import Receipt
    from ...core.client.targets import Word

__all__ = ["HeldSeat", "JoinedSeat", "open_channel"]

_READ_BYTES = 64 * 1024
_PAYLOAD_MAX = 1 << 30  # a listing of all members of a large room
_ANSWER_S = 10.0  # as long as the seat's server may take for a listing
_FIELDS = {"rank", "ticket", "load", "name", "address", "absent"}
_CHANGE_FIELDS = {"seq", "what", "ticket", "rank", "member_count", "name"}
_NOT_FIRST = 8
_LOOK_S = 1.0  # between two looks at a connection that is silent


class HeldSeat:
    """A seat held by another process, over the control socket at `path`. Raises ConnectionLost."""

    joined = False
    look_s: float | None = None
    """How often `receive` must be called, in seconds, even when nothing can be read."""

    def __init__(self, path: str, timeout_s: float) -> None:
        self._reader = FrameReader(_PAYLOAD_MAX)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        self._replies: list[tuple[Header, bytes]] = []
        try:
            self._socket.connect(path)
            while not self._replies:
                self._replies += self.receive()
        except TimeoutError:
            self.close()
            raise ConnectionLost(f"the seat at {path} was silent for {timeout_s:g} s") from None
        except OSError as error:
            self.close()
            from ...system.reasons import unix_reason

            raise ConnectionLost(f"no seat is held at {path}: {unix_reason(path, error)}") from error
        greeting, _ = self._replies.pop(0)
        self.ticket = greeting.get("ticket")
        limit = greeting.get("max_payload")
        self.max_payload = limit if isinstance(limit, int) else None

    def fileno(self) -> int:
        """The descriptor to wait on before `receive`."""
        return self._socket.fileno()

    @property
    def waiting(self) -> bool:
        """Whether `receive` has something to give without reading."""
        return bool(self._replies)

    def command(
        self, id_: int, to: Word | tuple[int, ...], payload: bytes, *, results: bool, timeout_s: float | None
    ) -> None:
        """Send a command to `to` or those tickets; its replies carry `id_`. Raises ConnectionLost, TimeoutError."""
        ttl_ms = 0 if timeout_s is None else -int(-timeout_s * 1000 // 1)
        if not isinstance(to, str):
            payload = protocol.tickets_before(payload, to)
        whom = to if isinstance(to, str) else len(to)
        self._send({"do": "command", "id": id_, "to": whom, "results": results, "ttl_ms": ttl_ms}, payload)

    def cancel(self, id_: int) -> None:
        """End a command with results early; DONE follows. Raises ConnectionLost, TimeoutError."""
        self._send({"do": "cancel", "id": id_})

    def who(self) -> list[dict[str, object]]:
        """All members. Raises ConnectionLost, TimeoutError."""
        self._send({"do": "who", "id": 0})
        self._socket.settimeout(_ANSWER_S)
        others: list[tuple[Header, bytes]] = []
        try:
            while True:
                replies = self.receive()
                for number, (header, payload) in enumerate(replies):
                    kind = header.get("is")
                    if kind == "members" or (kind in {"lost", "unsent"} and header.get("id") == 0):
                        others += replies[number + 1 :]
                        if kind == "members":
                            return _members(payload)
                        raise ConnectionLost(payload.decode(errors="replace"))
                    others.append((header, payload))
        finally:
            self._replies = others

    def receive(self) -> list[tuple[Header, bytes]]:
        """The replies that one read completes. Raises ConnectionLost, ControlError, TimeoutError."""
        if self._replies:
            replies, self._replies = self._replies, []
            return replies
        try:
            data = self._socket.recv(_READ_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            raise ConnectionLost("the seat is no longer held")
        replies = []
        for header, payload in self._reader.receive_data(data):
            if header.get("is") == "error":
                raise ControlError(payload.decode(errors="replace"))
            replies.append((header, payload))
        return replies

    def step_back(self) -> object:
        """Give up the rank; the new one. Raises CommandRefused, ConnectionLost, TimeoutError."""
        self._socket.settimeout(None)  # the holder may have to stop a program first
        return self._asked({"do": "yield", "id": 0}, b"", "yielded")[0].get("rank")

    def baton(self, note: bytes | None) -> bytes:
        """Write the baton, or read it. Raises CommandRefused, ConnectionLost, TimeoutError."""
        self._socket.settimeout(_ANSWER_S)
        return self._asked({"do": "baton", "id": 0, "write": note is not None}, note or b"", "baton")[1]

    def _asked(self, request: Header, payload: bytes, kind: str) -> tuple[Header, bytes]:
        """The reply of that kind."""
        self._send(request, payload)
        while True:
            for header, text in self.receive():
                match header.get("is"):
                    case "refused":
                        code = header.get("code")
                        raise CommandRefused(0, code if isinstance(code, int) else 0, shown(text))
                    case "lost" | "unsent":
                        raise ConnectionLost(shown(text))
                    case other if other == kind:
                        return header, text

    def watch(self) -> Iterator[list[dict[str, object]] | Header | None]:
        """All members, then each change as it comes; None after each second without one. Raises as `who`."""
        self._send({"do": "watch", "id": 0})
        self._socket.settimeout(_LOOK_S)
        while True:
            try:
                replies = self.receive()
            except TimeoutError:
                yield None
                continue
            for header, payload in replies:
                match header.get("is"):
                    case "members":
                        yield _members(payload)
                    case "changed" if header.keys() >= _CHANGE_FIELDS:
                        yield header
                    case "lost" | "unsent":
                        raise ConnectionLost(payload.decode(errors="replace"))

    def close(self) -> None:
        """Close the connection to the holder."""
        self._socket.close()

    def _send(self, header: Header, payload: bytes = b"") -> None:
        try:
            self._socket.sendall(protocol.encoded(header, payload))
        except ConnectionError as error:
            raise ConnectionLost("the seat is no longer held") from error


def _members(payload: bytes) -> list[dict[str, object]]:
    try:
        members = json.loads(payload)
        if all(member.keys() >= _FIELDS for member in members):
            return list(members)
    except (AttributeError, TypeError, ValueError, RecursionError):
        pass
    raise ControlError("the list of members makes no sense")


class JoinedSeat:
    """A seat of our own. Raises LocalError, ConnectionLost, ServerError."""

    joined = True
    look_s: float | None = _LOOK_S

    def __init__(self, arguments: argparse.Namespace) -> None:
        import logging

        from ...client.client import Client
        from ...core.client.received import Rejected
        from ..shared.connection_flags import client_options

        def reject(_: object) -> None:
            raise Rejected("this seat executes nothing")

        logging.getLogger("rankmux").addHandler(logging.NullHandler())
        options = client_options(arguments)
        self._client: Client = Client(**options, timeout=arguments.connect_timeout, handler=reject)
        self._receipts: dict[int, Receipt] = {}
        self._replies: list[tuple[Header, bytes]] = []
        self._error: RankmuxError | None = None
        self._has_read = False  # answers that `receive` has not looked at
        self.ticket: object = self._client.ticket
        self.max_payload = self._client.max_payload

    def fileno(self) -> int:
        """The descriptor to wait on before `receive`."""
        return self._client.fileno()

    @property
    def waiting(self) -> bool:
        """Whether `receive` may have something to give without reading."""
        return self._has_read or bool(self._replies)

    def command(
        self, id_: int, to: Word | tuple[int, ...], payload: bytes, *, results: bool, timeout_s: float | None
    ) -> None:
        """Send a command to `to` or those tickets; its replies carry `id_`. Raises TimeoutError."""
        self._has_read = True
        keyword: Word = to if isinstance(to, str) else "all"
        tickets = None if isinstance(to, str) else to
        try:
            receipt = self._client.command(
                payload, keyword, tickets=tickets, results=results, timeout=timeout_s, required=True
            )
        except RankmuxError as error:
            self._replies.append(protocol.ended(id_, error, sent=True))
            return
        self._replies.append((protocol.accepted(id_, receipt), b""))
        if results:
            self._receipts[id_] = receipt

    def cancel(self, id_: int) -> None:
        """End a command with results early; DONE follows."""
        if id_ in self._receipts:
            self._has_read = True
            self._receipts[id_].cancel()

    def who(self) -> list[dict[str, object]]:
        """All members. Raises ConnectionLost, TimeoutError."""
        self._has_read = True
        return [member._asdict() for member in self._client.who()]

    def step_back(self) -> object:
        """Give up the rank; the new one. Raises CommandRefused, ConnectionLost, TimeoutError."""
        return self._client.step_down()

    def baton(self, note: bytes | None) -> bytes:
        """Write the baton, or read it. Raises CommandRefused, ConnectionLost, TimeoutError."""
        if note is not None:
            self._client.set_baton(note)
            return note
        self._client.who()  # it has come by then
        if self._client.rank != 0:
            raise CommandRefused(0, _NOT_FIRST, "only rank 0 has the baton")
        return b"" if self._client.baton is None else self._client.baton.payload

    def receive(self) -> list[tuple[Header, bytes]]:
        """The replies that have come. Raises ConnectionLost, ServerError."""
        if self._error is not None:
            raise self._error
        self._has_read = False
        try:
            self._client.poll(0.0)
        except RankmuxError as error:
            self._error = error  # what came before it goes first
        for id_ in list(self._receipts):
            self._take_results(id_)
        replies, self._replies = self._replies, []
        return replies

    def _take_results(self, id_: int) -> None:
        receipt = self._receipts[id_]
        try:
            for result in receipt.results(timeout=0.0):
                self._replies.append((protocol.result(id_, result), result.payload))
        except TimeoutError:
            return  # more will come
        except RankmuxError as error:
            self._replies.append(protocol.ended(id_, error, sent=True))
        else:
            assert receipt.counts is not None
            self._replies.append((protocol.done(id_, receipt.counts), b""))
        del self._receipts[id_]

    def close(self) -> None:
        """Leave the room."""
        self._client.close()


def open_channel(arguments: argparse.Namespace) -> HeldSeat | JoinedSeat:
    """The seat that --seat or RANKMUX_SEAT names, or one of our own. Raises LocalError, ConnectionLost, ServerError."""
    path = arguments.seat or os.environ.get(SEAT_VARIABLE)
    return HeldSeat(path, arguments.connect_timeout) if path else JoinedSeat(arguments)
