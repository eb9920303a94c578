"""A session of a client that logs what it sends and receives, as `logs.py` describes the lines."""

from __future__ import annotations

import zlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

from rankmux.core.client import events as happened
from rankmux.core.client.session import ClientSession
from rankmux.core.wire.codes import Status, Target
from rankmux.core.wire.frames import Baton
from rankmux.errors import ConnectionLost, ProtocolViolation, ServerError

from ..protocol.frames import QUIET, RESULTS, TIED, WANTED, Execute, encode
from .believer import clock_ms
from .crew_member import HEAD, filler

if TYPE_CHECKING:
    from .client_crew import ClientMember

__all__ = ["MEMBER", "Journal"]

MEMBER: ContextVar[ClientMember[Any]] = ContextVar("MEMBER")
"""The one that this thread or task is for."""


class Journal(ClientSession):
    """The connection of the member that this thread or task is for. `yielding`: the id of a YIELD without an answer."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.member = MEMBER.get()
        self.ident = ""
        self.yielding: int | None = None
        self._numbers: dict[int, int] = {}  # of its commands, by id

    def log(self, kind: str, *values: object) -> None:
        self.member.crew.lines.append(f"{self.ident} {kind} {' '.join(map(str, values))}\n")

    # What it sends.

    def data_to_send(self, limit: int | None = None) -> bytes:
        if not self.ident:  # the HELLO
            self.ident = f"{self.member.ident}.{self.member.connections}"
            self.member.connections += 1
            self.member.journal = self
            if (kept := self.kept) is not None:
                secret = int.from_bytes(kept._secret)
                self.log("H", secret, kept._ms, kept._last_seq, clock_ms(), self.member.number)
        return super().data_to_send(limit)

    def send_command(self, payload: bytes, target: Target = Target.ALL, arg: int = 0, **options: Any) -> int:
        """The payload is made here: its sender's ticket is that of the connection that it is sent by."""
        number, arg_seen = self.member.next_number(), arg or len(options["tickets"])
        head = HEAD.pack(self.seat.ticket or 0, number, target, arg_seen)
        id_ = super().send_command(head + filler(head, len(payload)), target, arg, **options)
        self._numbers[id_] = number
        flags = RESULTS * options["results"] | QUIET * options["quiet"] | TIED * options["tied"]
        self.log("S", number, int(target), flags, arg_seen, options["ttl_ms"], clock_ms())
        return id_

    def send_yield(self) -> int:
        id_ = super().send_yield()
        self._numbers[id_] = self.member.next_number()
        self.yielding = id_
        self.log("Y", self._numbers[id_])
        return id_

    def send_baton(self, payload: bytes) -> int:
        id_ = super().send_baton(payload)
        self._numbers[id_] = self.member.next_number()
        self.log("N", self._numbers[id_], zlib.crc32(payload))
        return id_

    def send_leave(self) -> None:
        super().send_leave()
        self.log("L", self.member.next_number())

    # What it receives.

    def _receive(self, frame: Any) -> None:
        super()._receive(frame)
        if isinstance(frame, Baton):
            self._events.append(cast("happened.ClientEvent", frame))  # among the others, in its place

    def events(self) -> list[happened.ClientEvent]:
        events = super().events()
        for event in events:
            self._note(event)
        return events

    def _note(self, event: happened.ClientEvent | Baton) -> None:
        numbers, received = self._numbers, self.member.received
        match event:
            case happened.Welcomed():
                self._note_welcome(event)
            case happened.CommandsReceived():
                for command in event.commands:
                    received[command.seq] = self
                    self._note_execute(command)
            case happened.ExecuteRejected():
                self.log("V", f"command {event.seq} of no senior")
            case happened.ExecutionCancelled():
                received.pop(event.seq, None)
            case happened.Promoted():
                self.log("R", event.seq, event.rank, event.member_count, int(event.cause))
            case happened.CommandAccepted():
                self.log("A", numbers[event.id], *event[1:])
            case happened.RefusalReceived():
                if event.id == self.yielding:
                    self.yielding = None
                self.log("F", numbers[event.id], event.code)
            case happened.ResultsRouted():
                for result in event.results:
                    if result.status is not Status.PART:
                        self.log("O", numbers[event.id], result.ticket, int(result.status))
            case happened.CommandDone():
                self.log("D", numbers[event.id], *event[1:])
            case happened.Yielded():
                received.clear()
                self.yielding = None
                self.log("U", numbers[event.id], event.seq, event.ticket, event.rank, event.members)
            case happened.MembersPage():
                seats = (value for member in event.members for value in (member.ticket, int(member.absent)))
                self.log("M", event.seq, event.total, *seats)
            case Baton():
                self.log("G", event.seq, event.ticket, zlib.crc32(event.payload))
            case happened.ServerErrorReceived():
                self.log("C", int(event.code))
            case happened.Ended():
                self._note_end(event)

    def _note_welcome(self, event: happened.Welcomed) -> None:
        if not event.returned:
            self.member.received.clear()
        where = event.ticket, event.seq, event.rank, event.member_count
        self.log("J", *where, int(event.returned), event.keep_ms or 0, clock_ms(), event.instance)

    def _note_execute(self, command: happened.ExecuteReceived) -> None:
        flags = WANTED * command.wants_result
        wire = encode(Execute(command.seq, command.sender_rank, flags, command.ttl_ms, command.payload))
        head = HEAD.unpack(command.payload[: HEAD.size])
        self.log("E", command.seq, command.sender_rank, command.rank, *head, zlib.crc32(wire))

    def _note_end(self, event: happened.Ended) -> None:
        # Without a WELCOME it ends nothing that was before.
        if not event.kept and self.max_payload is not None:
            self.member.received.clear()
        how = "our-reset"
        if isinstance(event.error, ProtocolViolation):
            self.log("V", str(event.error).replace("\n", " "))
        elif isinstance(event.error, ServerError):
            how = "eof"
        elif isinstance(event.error, ConnectionLost):
            how = "eof" if "closed the connection" in event.error.reason else "reset"
        self.log("X", how, 0, self.member.ended_ms)
