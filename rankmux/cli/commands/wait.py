"""`rankmux-client wait`: waits until its seat has reached a rank, and runs a program while it holds that rank."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from ...aio import Promoted, Welcomed
from ...core.wire.codes import RefusedCode
from ...errors import CommandRefused, RankmuxError, StateError
from ..programs.child import Child, exit_code_of
from ..shared.connection_flags import add_connection_flags
from ..shared.exit_codes import Exit
from ..shared.flags import add_keep_flags, add_offer_flag, number_from, seconds
from ..shared.parsers import subcommand_parser
from ..shared.wording import why
from .holding import Holding, held

__all__ = ["main", "parser"]

_EXAMPLES = """\
  rankmux-client wait --rank 0 -- ./leader.sh      # leader.sh may call: rankmux-client send --wait status
  rankmux-client wait --timeout 5 && echo "I could lead"
  rankmux-client wait --reconnect -- ./leader.sh   # comes back after a lost connection, at the last place
"""
_EXIT_CODES = """\
  0  the rank was reached, if no PROGRAM was given; else that of PROGRAM (128 and the signal if one ended it), or
     `wait` was ended by SIGTERM
  1  PROGRAM had to be stopped and could not be, for example as it runs with the rights of another user
  2  wrong usage, or --seat is in use
  3  the rank was not reached within --timeout
  5  no connection: not reachable, server full, wrong token, or lost; PROGRAM, if it ran, was stopped
  126, 127  PROGRAM cannot be run, is not found
  130  ended by Ctrl-C, or, without PROGRAM, by SIGTERM; PROGRAM, if it ran, was stopped
"""


_BATON_S = 1.0  # a server sends it right behind the rank
_SPARE = 0.1
"""The part of the keep by which PROGRAM is gone before the deadline."""


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = subcommand_parser(
        "wait",
        "Joins, and waits until this seat has the rank --rank or a higher one; then returns, or runs PROGRAM and holds"
        " the seat until PROGRAM has ended: a lock that passes to the next in line when its holder goes. If the"
        " connection is lost while PROGRAM runs, it is stopped, since another member may hold the rank by then: SIGTERM"
        " to its process group, SIGKILL after --grace. So is anything that PROGRAM leaves running in its group when it"
        " ends, and all of it when `wait` itself is killed. With --keep, it goes on while the seat is kept, and is gone"
        " before the server gives the seat up. PROGRAM gets RANKMUX_RANK, RANKMUX_TICKET (which only"
        " grows from holder to holder: a fencing token), RANKMUX_MEMBER_COUNT, RANKMUX_SEAT, so that `send` and `who`"
        " in it use this seat, and with rank 0 RANKMUX_BATON_FILE, a file with the note of the holder before."
        " PROGRAM has our standard streams, but as it runs in a session of its own, no controlling terminal:"
        " it cannot open /dev/tty, and Ctrl-C is a SIGTERM to it.",
        _EXAMPLES,
        _EXIT_CODES,
    )
    parser.add_argument(
        "--rank",
        type=number_from(0),
        default=0,
        metavar="R",
        help="the rank to wait for (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout", type=seconds, metavar="S", help="seconds to wait for the rank (default: no limit)"
    )
    parser.add_argument(
        "--grace",
        type=seconds,
        default=5.0,
        metavar="S",
        help="seconds from SIGTERM to SIGKILL when PROGRAM is stopped (default: %(default)g)",
    )
    add_offer_flag(parser)
    parser.add_argument(
        "--reconnect",
        action="store_true",
        help="when the server cannot be reached or the connection is lost, stop PROGRAM, keep trying, and wait again at"
        " the last place; PROGRAM is started again with the rank",
    )
    add_keep_flags(parser)
    add_connection_flags(parser)
    parser.add_argument(
        "program", nargs="*", metavar="PROGRAM", help="the program and its arguments, after --"
    )
    return parser


class _Wait(Holding):
    """Waits for its rank, once."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments, sys.stderr, reconnect=arguments.reconnect, grace_s=arguments.grace)
        self._reconnect: bool = arguments.reconnect
        self._rank: int = arguments.rank
        self._program: list[str] = arguments.program
        self._grace_s: float = arguments.grace
        self._reached = False
        self._running: asyncio.Task[None] | None = None
        self._guarding: asyncio.Task[None] | None = None
        self._child: Child | None = None
        self._stopping: asyncio.Task[None] | None = None  # of the program of a seat that is lost
        self._baton: IO[bytes] | None = None
        if arguments.timeout is not None:
            asyncio.get_running_loop().call_later(arguments.timeout, self._overdue)

    def ranked(self, event: Welcomed | Promoted) -> None:
        if not self._reached and self._stopping is None:
            self._look_at(event.rank)

    def _look_at(self, rank: int) -> None:
        """Act with `rank`, if it is high enough."""
        if rank > self._rank:
            return
        self._reached = True
        if not self._program:
            self.finish(Exit.OK)
        elif rank > 0:
            self._start(None)
        else:
            self._running = asyncio.get_running_loop().create_task(self._start_first())

    def returned(self, event: Welcomed) -> None:
        self.ranked(event)  # the seat may have been lost just as its turn came

    async def _start_first(self) -> None:
        """Start PROGRAM with rank 0, once the baton has come."""
        note = b""
        with suppress(RankmuxError, TimeoutError):
            async with asyncio.timeout(_BATON_S):
                note = await self.seat.baton()
        if not self.ending:
            self._start(note)

    def _start(self, note: bytes | None) -> None:
        connection = self.seat.client.fileno()
        if connection < 0:
            self._reached = False  # lost meanwhile, as the next event says
            return
        about = {}
        try:
            if note is not None:
                about["baton_file"] = self._baton_file(note)
            self.children.keep_open(connection)
            child = self.children.start(self._program, self.environment(**about), own_input=True, whole=True)
        except OSError as error:
            self.complain(f"cannot run {self._program[0]}: {error.strerror}")
            self.finish(127 if isinstance(error, FileNotFoundError) else 126)
        else:
            self._child = child
            loop = asyncio.get_running_loop()
            self._running = loop.create_task(self._end_with(child))
            self._guarding = loop.create_task(self._end_in_time())

    def _baton_file(self, note: bytes) -> str:
        """A file that only we can read, with the note; it goes when we end."""
        if self._baton is None:
            self._baton = tempfile.NamedTemporaryFile(prefix="rankmux-baton-")  # noqa: SIM115 - until the end
        self._baton.seek(0)
        self._baton.truncate()
        self._baton.write(note)
        self._baton.flush()
        return self._baton.name

    async def _end_with(self, child: Child) -> None:
        code = exit_code_of(await child.wait())
        if child is self._child:
            self.finish(code)

    async def step_back(self) -> int | None:
        """End PROGRAM, which acts with the rank, give the rank up, and wait for it again."""
        if self._child is not None:
            client = self.seat.client
            rank = client.rank
            below = [row for row in await client.who() if rank is not None and row.rank > rank]
            if all(row.absent for row in below):
                raise CommandRefused(0, RefusedCode.NO_TARGET, "nobody is below you")
            self._child = None
            try:
                if not await self.children.stop_all():
                    raise StateError("stepping back", "the program cannot be stopped")
                self._reached = False
                return await super().step_back()
            except (RankmuxError, TimeoutError):
                self.finish(Exit.FAILED)  # without PROGRAM, the rank is of no use
                raise
        return await super().step_back()

    async def _end_in_time(self) -> None:
        """Have PROGRAM ended by the deadline of a kept seat, from which on another member may hold the rank."""
        client = self.seat.client
        child = self._child
        while (
            child is self._child
            and client.keep
            and (deadline_s := client.deadline) is not None
            and not self.ending
        ):
            grace_s = min(self._grace_s, client.keep / 3)
            left_s = deadline_s - _SPARE * client.keep - grace_s - time.monotonic()
            if left_s > 0:
                await asyncio.sleep(left_s)  # until then, an answered PING may have moved the deadline
                continue
            self.complain("stopping the program, the seat is kept no longer than that")
            if self._reconnect and child is not None:
                self._stop()
                await asyncio.sleep(grace_s)
                child.kill()  # and no other: by now there may be its successor
                return
            self.finish(Exit.NOT_CONNECTED)
            await asyncio.sleep(grace_s)
            self.children.kill_all()

    @property
    def may_be_ended(self) -> bool:
        return bool(self._program)

    def lost(self, error: RankmuxError) -> None:
        if self._child is not None:
            self.complain(f"stopping the program, another member may hold the rank now ({why(error)})")
        if self._reconnect:
            self._stop()

    def _stop(self) -> None:
        """Have PROGRAM ended, to wait for the rank again."""
        self._child = None
        self._reached = False
        if self._running is not None:
            self._running.cancel()  # it may be about to start PROGRAM
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop_program())

    async def _stop_program(self) -> None:
        stopped = await self.children.stop_all()
        self._stopping = None
        if not stopped:
            self.finish(Exit.FAILED)  # as two of them would run at once
        elif not self.ending and (rank := self.seat.client.rank) is not None:
            self._look_at(rank)

    def _overdue(self) -> None:
        if not self._reached:
            self.complain(f"rank {self._rank} was not reached in time")
            self.finish(Exit.TIMED_OUT)


def main(argv: Sequence[str] | None = None) -> int:
    """Wait for a rank; the exit code."""
    arguments = parser().parse_args(argv)
    return held(lambda: _Wait(arguments), arguments.program)
