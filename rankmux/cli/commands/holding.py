"""The common part of `hold`, `work` and `wait`: a held seat, its control socket, its programs, and one way to end.

The end is always the same: no more programs, those that run are stopped, then the seat is left, then the exit code.
So nobody gets our rank while something still acts with it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

from ...aio import Promoted, ReceivedCommand, Rejected, Welcomed
from ...core.client.events import ExecuteRejected
from ...errors import LocalError, RankmuxError
from ...system.printable import escaped
from ..programs.children import Children
from ..programs.finding import program_fault
from ..programs.hook import Hook, program_of
from ..seat.seat import Absent, Incident, Lost, Returned, Seat
from ..seat.socket import SeatSocket, offered
from ..shared.event_lines import promotion_text, rejection_text
from ..shared.event_loop import run
from ..shared.exit_codes import Exit
from ..shared.flags import SEAT_VARIABLE
from ..shared.line_writer import LineWriter
from ..shared.signals import ending
from ..shared.streams import Unwritable
from ..shared.wording import PROGRAM, complain, why

__all__ = ["Holding", "held"]

_OF_A_SEAT = {
    f"RANKMUX_{name}"
    for name in [
        "SEAT",
        "RANK",
        "RANK_BEFORE",
        "TICKET",
        "MEMBER_COUNT",
        "SENDER_RANK",
        "SEQ",
        "DEADLINE",
        "REASON",
        "BATON_FILE",
    ]
}
"""Variables about one seat: we may ourselves run in a program of another one."""

_VALUE_MAX = 4096
_LAST_RESULTS_S = 2.0  # for the results of programs that were stopped


def _value(value: object) -> str:
    """The value of an environment variable: a server's words may hold a NUL, and be long."""
    return escaped(str(value))[:_VALUE_MAX]


class Holding:
    """A held seat, from joining to leaving. Subclasses act on what happens to it. Raises LocalError."""

    def __init__(
        self, arguments: argparse.Namespace, output: TextIO, *, reconnect: bool, grace_s: float = 5.0
    ) -> None:
        self.children = Children(grace_s, self.complain)
        self.seat = Seat(arguments, self._handle, reconnect=reconnect)
        self.seat.step_back = self.step_back
        self.ending = False
        self._keep_file: str | None = arguments.keep_file
        self._stays = False
        self._absent_hook = self._hook("--hook-absent", arguments.hook_absent)
        self._back_hook = self._hook("--hook-back", arguments.hook_back)
        self._path: str | None = arguments.seat
        self._output = LineWriter(output)
        self._errors = LineWriter(sys.stderr, f"{PROGRAM}: ")
        self._offer: SeatSocket | None = None
        self._joined = False
        self._last_rank = -1
        self._handlers: set[asyncio.Task[object]] = set()
        self._end: asyncio.Task[int] | None = None
        self._ended = asyncio.Event()

    async def run(self) -> int:
        """Hold the seat until it is given up or lost; the exit code."""
        loop = asyncio.get_running_loop()
        for number in ending():
            loop.add_signal_handler(number, self._interrupted, number)
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGTSTP, self.children.suspend_with_us)
        try:
            async for incident in self.seat.incidents():
                await self._happened(incident)
            await self._ended.wait()
            assert self._end is not None
            return await self._end
        finally:
            self.children.kill_all()
            self.children.close()
            if self._offer is not None:
                self._offer.close()

    def _hook(self, flag: str, text: str | None) -> Hook:
        return Hook(self.children, program_of(flag, text), self.environment, self.complain)

    @property
    def may_be_ended(self) -> bool:
        """Whether SIGTERM is as good an end as any, with exit code 0: it is how a service is stopped."""
        return True

    def finish(self, code: int) -> None:
        """End with `code`: stop the programs, leave, return. The first code stays."""
        if self._end is None:
            self.ending = True
            self._absent_hook.clear()
            self._back_hook.clear()
            self.closing()
            self._end = asyncio.get_running_loop().create_task(self._finish(code))
            self._end.add_done_callback(lambda _: self._ended.set())

    async def _finish(self, code: int) -> int:
        if not await self.children.stop_all():
            code = Exit.FAILED
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=_LAST_RESULTS_S)
        await self.seat.leave(stay=self._stays)
        return code

    def _interrupted(self, number: int) -> None:
        if self.ending:
            self.children.kill_all()
        asked = number == signal.SIGTERM
        self._stays = self._stays or (asked and self._keep_file is not None and not self.ending)
        self.finish(Exit.OK if asked and self.may_be_ended else Exit.INTERRUPTED)

    def say(self, line: str) -> None:
        """Write a line about what happens. Ends when its reader has gone; a full disk is no reason to."""
        try:
            self._output.write(line)
        except Unwritable as error:
            if error.reader_gone:
                self.finish(Exit.FAILED)

    def complain(self, text: str) -> None:
        """Write a line on standard error, without waiting for its reader."""
        with suppress(Unwritable):
            self._errors.write(text)

    def environment(self, **variables: object) -> dict[str, str]:
        """The environment of a program started now, with `variables` as RANKMUX_ ones."""
        client = self.seat.client
        about = {"rank": client.rank, "ticket": client.ticket, "member_count": client.member_count}
        known = {name: value for name, value in about.items() if value is not None}
        outer = {name: value for name, value in os.environ.items() if name not in _OF_A_SEAT}
        own = {f"RANKMUX_{name.upper()}": _value(value) for name, value in {**known, **variables}.items()}
        if self._offer is not None:
            own[SEAT_VARIABLE] = str(self._offer.path)
        return {**outer, **own}

    # for subclasses

    def ranked(self, event: Welcomed | Promoted) -> None:
        """The seat has a new rank."""

    def returned(self, event: Welcomed) -> None:
        """The connection is back in the seat, whose rank is the same."""

    async def execute(self, command: ReceivedCommand) -> None:  # noqa: ARG002
        """Run a command and send its results. This one executes nothing."""
        raise Rejected("this seat executes nothing")

    async def step_back(self) -> int | None:
        """Give up the rank, for a `yield`; the new one. Raises CommandRefused, ConnectionLost, TimeoutError."""
        rank = await self.seat.client.step_down()
        if rank is not None:
            self._last_rank = rank
            self.say(f"Stepped back to rank: {rank}")
        return rank

    def absent(self) -> None:
        """The connection was lost, and the seat is kept."""

    def lost(self, error: RankmuxError) -> None:
        """The connection was lost; not called again when it cannot be made again."""

    async def given_up(self) -> None:
        """The connection was lost for good, and the end comes next."""

    def closing(self) -> None:
        """The end has begun: start no more programs."""

    # what happens

    async def _handle(self, command: ReceivedCommand) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        await self.execute(command)

    async def _happened(self, incident: Incident) -> None:
        match incident:
            case Welcomed(returned=True) if self._joined:
                before, self._last_rank = self._last_rank, incident.rank
                if incident.rank != before:  # seniors went meanwhile
                    self.ranked(incident)
                else:
                    self.returned(incident)
            case Welcomed():
                if self._offer is None and not await self._offered():
                    return
                self.say(f"Assigned rank: {incident.rank}")
                self._last_rank = incident.rank
                self.ranked(incident)
                self._joined = True
                self.seat.execute()
            case Promoted():
                self.say(promotion_text(incident))
                self._last_rank = incident.rank
                if not self.ending:
                    self.ranked(incident)
            case ExecuteRejected():
                self.say(rejection_text(incident))
            case Absent(error):
                reason = "it is silent" if error is None else why(error)
                self.complain(f"{reason}; the seat is kept for {self.seat.client.keep:g} s")
                self._absent_hook.run(reason=reason)
                self.absent()
            case Returned(rank):
                self.say(f"Back at rank: {rank}")
                self._back_hook.run()
            case Lost():
                await self._lost(incident)

    async def _offered(self) -> bool:
        try:
            self._offer = await offered(self._path, self.seat)
        except LocalError as error:
            self.complain(str(error))
            self.finish(Exit.USAGE)
            return False
        except OSError as error:  # a private one: a convenience, no reason to give up the seat
            self.complain(f"no socket for `send` and `who` here: {error.strerror or error}")
            return True
        if self._path:
            self.say(f"Seat: {self._offer.path}")
        return True

    async def _lost(self, lost: Lost) -> None:
        self.complain(f"{why(lost.error)}{'' if lost.again_s is None else '; trying again'}")
        if self._joined:
            self._joined = False
            self.lost(lost.error)
        if lost.again_s is None:
            await self.given_up()
            self.finish(Exit.without_connection(lost.error))


def held(make: Callable[[], Holding], program: Sequence[str] = ()) -> int:
    """Make a Holding and run it; complaints go to standard error. A `program` that cannot be run is told first."""
    if program:
        code, fault = program_fault(program)
        if code:
            complain(fault)
            return code

    async def hold() -> int:
        return await make().run()

    try:
        return run(hold())
    except LocalError as error:
        complain(why(error))
        return Exit.USAGE
