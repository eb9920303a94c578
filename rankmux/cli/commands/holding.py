"""What `hold`, `work` and `wait` have in common: a seat, its control socket, its programs, one way to end.

The end is always the same: no more programs, those that run are stopped, then the seat is left, then the exit code.
So nobody gets our rank while something still acts with it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from ...core.client.events import ClientEvent, ExecuteReceived, ExecuteRejected, Promoted, Welcomed
from ...core.wire.codes import Status
from ...errors import ConnectionLost, LocalError, RankmuxError
from ..programs.children import Children
from ..seat.loop import Loop
from ..seat.requests import Requests
from ..seat.seat import Seat
from ..seat.socket import SEAT_VARIABLE, SeatSocket
from ..shared.client_words import tell
from ..shared.connection_flags import Exit, address_of, token_reader
from ..shared.line_writer import Saying
from ..shared.streams import Unwritable
from ..shared.wording import PROGRAM, complain, why

__all__ = ["Holding", "held"]


_TOLD = {
    f"RANKMUX_{name}"
    for name in ["RANK", "RANK_BEFORE", "TICKET", "MEMBERS", "SENDER_RANK", "SEQ", "DEADLINE", "REASON"]
}
"""What a program is told by its own seat alone: ours may itself run in one that was told of another."""

_ANSWERS_MAX_BYTES = 16 * 1024 * 1024  # a server that leaves more than that unread gets no more of them


class Holding:
    """A held seat, from joining to leaving. Subclasses act on what happens to it."""

    def __init__(
        self, arguments: argparse.Namespace, output: TextIO, *, reconnect: bool, grace_s: float = 5.0
    ) -> None:
        self.loop = Loop()
        self.children = Children(self.loop, grace_s)
        self.seat = Seat(
            self.loop,
            address_of(arguments),
            arguments.name,
            token_reader(arguments),
            arguments.connect_timeout,
            reconnect=reconnect,
            on_event=self._happened,
            on_lost=self._lost,
        )
        self.ending = False
        self._joined = False
        self._path = arguments.seat
        self._output = Saying(output)
        self._errors = Saying(sys.stderr, f"{PROGRAM}: ")
        self._offer: SeatSocket | None = None
        self._code = Exit.OK.value
        self.loop.on_interrupt = self._interrupted
        self.loop.on_suspend = self.children.suspend_with_us

    def run(self) -> int:
        """Hold the seat until it is given up or lost; the exit code. Raises LocalError, ConnectionLost."""
        try:
            self.seat.open()
            return self.loop.run()
        except KeyboardInterrupt:
            return Exit.INTERRUPTED
        finally:
            self.children.kill_all()
            if self._offer is not None:
                self._offer.close()
            self.loop.close()

    def finish(self, code: int) -> None:
        """End with `code`: stop the programs, leave, return. The first code stays."""
        if not self.ending:
            self.ending = True
            self._code = code
            self.closing()
            self.children.stop_all(lambda: self.seat.leave(lambda: self.loop.stop(self._code)))

    def _interrupted(self) -> None:
        if self.ending:
            self.children.kill_all()
        self.finish(Exit.INTERRUPTED)

    def say(self, *lines: str) -> None:
        """Tell the one who watches; when nobody does any more, it ends. A full disk is no reason to."""
        try:
            self._output.say(*lines)
        except Unwritable as error:
            if error.reader_gone:
                self.finish(Exit.FAILED)

    def complain(self, text: str) -> None:
        """As `words.complain`, but without waiting for who reads it."""
        with suppress(Unwritable):
            self._errors.say(text)

    def environment(self, **variables: object) -> dict[str, str]:
        """The environment of a program started now, with `variables` as RANKMUX_ ones."""
        assert self._offer is not None
        session = self.seat.session
        about = (
            {}
            if session is None
            else {"rank": session.seat.rank, "ticket": session.seat.ticket, "members": session.seat.members}
        )
        outer = {name: value for name, value in os.environ.items() if name not in _TOLD}
        told = {f"RANKMUX_{name.upper()}": str(value) for name, value in {**about, **variables}.items()}
        return {**outer, **told, SEAT_VARIABLE: str(self._offer.path)}

    # for subclasses

    def ranked(self, event: Welcomed | Promoted) -> None:
        """The seat has a new rank."""

    def execute(self, event: ExecuteReceived) -> None:
        """A command came. This one executes nothing."""
        self.answer(event.seq, Status.REJECTED, b"this seat executes nothing", event.wants_result)

    def lost(self, error: RankmuxError) -> None:
        """The connection has gone; not called again while trying to make it again fails."""

    def given_up(self) -> None:
        """The connection has gone for good."""
        self.finish(Exit.NOT_CONNECTED)

    def closing(self) -> None:
        """It ends: start no more programs."""

    def answer(self, seq: int, status: Status, payload: bytes = b"", wanted: bool = True) -> None:
        """Answer a command, if that is wanted and still possible."""
        session = self.seat.session
        if wanted and session is not None and session.output_size < _ANSWERS_MAX_BYTES:
            with suppress(LocalError):  # a max_payload that is smaller than our words
                session.send_result(seq, status, payload)

    # what happens

    def _happened(self, event: ClientEvent) -> None:
        match event:
            case Welcomed():
                if self._offer is None and not self._offered():
                    return
                self._joined = True
                self.say(f"Assigned rank: {event.rank}")
                self.ranked(event)
            case Promoted():
                self.say(*tell(event))
                if not self.ending:
                    self.ranked(event)
            case ExecuteReceived():
                self.execute(event)
            case ExecuteRejected():
                self.say(*tell(event))
            case _:
                pass

    def _offered(self) -> bool:
        try:
            self._offer = SeatSocket(
                self._path,
                lambda reply: Requests(self.seat.commands, lambda: self.seat.session, reply),
                self.loop.watch,
            )
        except LocalError as error:
            self.complain(str(error))
            self.finish(Exit.USAGE)
            return False
        if self._path:
            self.say(f"Seat: {self._offer.path}")
        return True

    def _lost(self, error: RankmuxError, again_s: float | None) -> None:
        self.complain(f"{why(error)}{'' if again_s is None else '; trying again'}")
        if self._joined:
            self._joined = False
            self.lost(error)
        if again_s is None:
            self.given_up()


def held(make: Callable[[], Holding]) -> int:
    """Make a Holding and run it; complaints go to standard error."""
    try:
        return make().run()
    except LocalError as error:
        complain(str(error))
        return Exit.USAGE
    except ConnectionLost as error:
        complain(error.reason)
        return Exit.NOT_CONNECTED
