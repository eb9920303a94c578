"""What a held seat does for one of its senders: requests in, replies out (both as in `seat_frames`).

It serves a sender behind the control socket, and `send` and `who` in the same process when they join for themselves.
It knows no socket and no bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Protocol

from ...core.client.arguments import To
from ...core.client.events import CommandAccepted, CommandDone, RefusalReceived, ResultRouted
from ...core.client.session import ClientSession
from ...core.wire.codes import U32_MAX, RefusedCode
from ...core.wire.frames import MemberInfo
from ...errors import LocalError, RankmuxError, StateError
from .answers import Commands
from .protocol import VERSION, ControlError, Header

__all__ = ["Answering", "Replied", "Requests"]

_OPEN_MAX = 256  # commands of one sender; a server lets the whole seat wait for 1,024
_UNSENT_MAX_BYTES = 64 * 1024 * 1024

Replied = Callable[[Header, bytes], None]
"""Takes a reply."""


class Answering(Protocol):
    """Answers one sender, whose replies it was made with."""

    def greet(self) -> None:
        """Say what seat this is."""

    def request(self, header: Header, payload: bytes) -> None:
        """Do what the sender asks for. Raises ControlError when it breaks a rule."""

    def close(self) -> None:
        """The sender has gone."""


def _number(header: Header, key: str) -> int:
    value = header.get(key)
    if type(value) is not int or not 0 <= value <= U32_MAX:
        raise ControlError(f"{key} is {value!r}: a number from 0 to {U32_MAX} is expected")
    return value


def _target(header: Header) -> To:
    to = header.get("to")
    if isinstance(to, str) and to in {"all", "next", "least"}:
        return to
    return _number(header, "to")


class Requests:
    """One sender's. `session()` gives the seat's session while it is joined; `reply` takes what goes back."""

    def __init__(
        self, commands: Commands, session: Callable[[], ClientSession | None], reply: Replied
    ) -> None:
        self._commands = commands
        self._session = session
        self._reply: Replied = reply
        self._open: dict[int, int] = {}  # the session's id of each command that is open, by the sender's

    def greet(self) -> None:
        """Say what seat this is."""
        session = self._session()
        about: dict[str, int | None] = dict.fromkeys(("rank", "ticket", "members", "max_payload"))
        if session is not None:
            seat = session.seat
            about = {"rank": seat.rank, "ticket": seat.ticket, "members": seat.members}
            about["max_payload"] = session.max_payload
        self._reply({"is": "seat", "version": VERSION, **about}, b"")

    def request(self, header: Header, payload: bytes) -> None:
        """Do what the sender asks for; the replies may come later. Raises ControlError when it breaks a rule."""
        do, id_ = header.get("do"), _number(header, "id")
        if do == "command":
            self._command(id_, header, payload)
        elif do == "who":
            self._who(id_)
        else:
            raise ControlError(f"do is {do!r}: 'command' or 'who' is expected")

    def close(self) -> None:
        """The sender has gone: nothing it waits for is of interest any more."""
        self._reply = lambda _header, _payload: None
        for id_ in self._open.values():
            self._commands.forget(id_)
        self._open.clear()

    def _command(self, id_: int, header: Header, payload: bytes) -> None:
        to, ttl_ms, results = _target(header), _number(header, "ttl_ms"), header.get("results")
        if id_ in self._open:
            raise ControlError(f"the id {id_} is open already")
        if not isinstance(results, bool):
            raise ControlError(f"results is {results!r}: true or false is expected")
        if len(self._open) >= _OPEN_MAX:
            text = f"{_OPEN_MAX} of your commands wait for results"
            self._reply({"is": "refused", "id": id_, "code": int(RefusedCode.BUSY)}, text.encode())
            return

        def told(
            event: CommandAccepted | RefusalReceived | ResultRouted | CommandDone | RankmuxError,
        ) -> None:
            final = self._tell(id_, event)
            if final or (isinstance(event, CommandAccepted) and not results):
                self._open.pop(id_, None)

        session = self._session()
        if session is None:
            self._unsent(id_, StateError("sending", "the seat is not connected to its server"))
            return
        if session.output_size + len(payload) > _UNSENT_MAX_BYTES:
            self._unsent(id_, StateError("sending", "the server does not read what was sent before"))
            return
        try:
            self._open[id_] = self._commands.send(
                session, payload, to, results=results, ttl_ms=ttl_ms, told=told
            )
        except LocalError as error:
            self._unsent(id_, error)

    def _unsent(self, id_: int, error: RankmuxError) -> None:
        self._reply({"is": "unsent", "id": id_}, str(error).encode())

    def _tell(
        self, id_: int, event: CommandAccepted | RefusalReceived | ResultRouted | CommandDone | RankmuxError
    ) -> bool:
        header: dict[str, object]
        payload, final = b"", True
        match event:
            case CommandAccepted():
                header = {
                    "is": "accepted",
                    "seq": event.seq,
                    "executors": event.executors,
                    "rejected": event.rejected,
                }
                final = False
            case ResultRouted():
                header = {
                    "is": "result",
                    "rank": event.rank,
                    "ticket": event.ticket,
                    "status": event.status.name.lower(),
                }
                payload, final = event.payload, False
            case CommandDone():
                ends = ("ok", "failed", "rejected", "expired", "left")
                header = {"is": "done", **{end: getattr(event, end) for end in ends}}
            case RefusalReceived():
                header, payload = {"is": "refused", "code": event.code}, event.text.encode()
            case _:
                header, payload = {"is": "lost"}, str(event).encode()
        self._reply({**header, "id": id_}, payload)
        return final

    def _who(self, id_: int) -> None:
        def listed(members: list[MemberInfo] | RankmuxError) -> None:
            if isinstance(members, RankmuxError):
                self._reply({"is": "lost", "id": id_}, str(members).encode())
            else:
                rows = json.dumps([member._asdict() for member in members])
                self._reply({"is": "members", "id": id_}, rows.encode())

        session = self._session()
        try:
            if session is None:
                raise StateError("listing the members", "the seat is not connected to its server")
            self._commands.who(session, listed)
        except StateError as error:
            self._unsent(id_, error)
