"""`rankmux-client work`: an executor. It runs a program for each command that it receives and may run.

Commands wait in a queue, in the order in which they came, for one of the places of --parallel.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase

from ...aio import Promoted, ReceivedCommand, Rejected, Status, Welcomed
from ...errors import RankmuxError
from ...system.printable import escaped
from ..programs.run import finish_command
from ..shared.connection_flags import add_connection_flags
from ..shared.flags import add_keep_flags, add_offer_flag, add_reconnect_flag, number_from, seconds
from ..shared.parsers import subcommand_parser
from ..shared.wording import brief, line_breaks
from .holding import Holding, held

__all__ = ["main", "parser"]

_EXAMPLES = """\
  rankmux-client work -- sh -c 'read command; echo "rank $RANKMUX_RANK got: $command"'
  rankmux-client work --reconnect --parallel 4 --allow 'deploy *' -- ./deploy.py
  rankmux-client work --hook-promoted ./rank-changed.sh -- ./run.sh    # if [ "$RANKMUX_RANK" = 0 ]; then ...
"""
_EXIT_CODES = """\
  0  ended by SIGTERM
  1  a program had to be stopped and could not be, for example as it runs with the rights of another user
  2  wrong usage, or --seat is in use
  5  no connection: not reachable, server full, wrong token, or lost
  126, 127  PROGRAM cannot be run, is not found
  130  ended by Ctrl-C
"""

_WAITING_MAX = 1024
_WAITING_MAX_BYTES = 16 * 1024 * 1024
_HOOK_LOST_S = 60.0  # as long as --hook-lost may run before we end


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = subcommand_parser(
        "work",
        "Joins, and runs PROGRAM for each command from a member above. PROGRAM reads the command's payload from its"
        " standard input; no shell sees it. Its output and errors go back as partial results, its exit code as OK (0)"
        " or FAILED. Its environment has RANKMUX_RANK, RANKMUX_SENDER_RANK, RANKMUX_SEQ, RANKMUX_DEADLINE (seconds"
        " left; unset when there is no limit), and RANKMUX_SEAT, so that `send` and `who` in it use this seat. At the"
        " deadline, and when its sender cancels the command, its process group gets SIGTERM, and SIGKILL after --grace."
        " When --reconnect replaces a lost connection, running programs continue to their deadlines; their senders"
        " were told LEFT.",
        _EXAMPLES,
        _EXIT_CODES,
    )
    parser.add_argument(
        "--parallel",
        type=number_from(1),
        default=1,
        metavar="K",
        help="number of commands that run at a time; more wait (default: %(default)s)",
    )
    parser.add_argument(
        "--allow",
        action="append",
        metavar="PATTERN",
        help="run only commands that match this pattern as a whole; * ? [abc] stand for text within a line, as in"
        " file names. May be given several times; other commands are answered REJECTED",
    )
    parser.add_argument(
        "--local-errors",
        action="store_true",
        help="leave PROGRAM's standard error on that of `work` (default: it goes back with the output)",
    )
    parser.add_argument(
        "--max-output",
        type=number_from(0),
        default=8 * 1024 * 1024,
        metavar="BYTES",
        help="limit of the output that goes back for one command; the rest is cut (default: %(default)s)",
    )
    parser.add_argument(
        "--grace",
        type=seconds,
        default=5.0,
        metavar="S",
        help="seconds from SIGTERM to SIGKILL when a program is stopped (default: %(default)g)",
    )
    parser.add_argument(
        "--hook-promoted",
        metavar="PROGRAM",
        help="run this at each new rank, after joining too, with RANKMUX_RANK, RANKMUX_RANK_BEFORE (unset after"
        " joining), RANKMUX_TICKET and RANKMUX_MEMBER_COUNT; one at a time, and stopped when the connection is lost",
    )
    parser.add_argument(
        "--hook-lost",
        metavar="PROGRAM",
        help="run this when the connection is lost, with RANKMUX_REASON; it has a minute before `work` ends",
    )
    add_offer_flag(parser)
    add_reconnect_flag(parser)
    add_keep_flags(parser)
    add_connection_flags(parser)
    parser.add_argument(
        "program", nargs="+", metavar="PROGRAM", help="the program and its arguments, after --"
    )
    return parser


class _Work(Holding):
    """Runs commands."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments, sys.stderr, reconnect=arguments.reconnect, grace_s=arguments.grace)
        self._arguments = arguments
        self._places = asyncio.Semaphore(arguments.parallel)  # it is fair: first come, first served
        self._waiting = 0
        self._waiting_size = 0
        self._promoted_hook = self._hook("--hook-promoted", arguments.hook_promoted)
        self._lost_hook = self._hook("--hook-lost", arguments.hook_lost)

    async def execute(self, command: ReceivedCommand) -> None:
        ticket, size = self.seat.client.ticket, len(command.payload)
        if not self._allowed(command.payload):
            self.say(f"Not allowed, rank {command.sender_rank}: {brief(command.payload)}")
            raise Rejected("this command is not allowed here")
        if self._waiting >= _WAITING_MAX or self._waiting_size + size > _WAITING_MAX_BYTES:
            await command.finish(Status.FAILED, f"{self._waiting} commands wait here already")
            return
        self._waiting += 1
        self._waiting_size += size
        try:
            await self._places.acquire()
        except asyncio.CancelledError:
            end = "Cancelled" if command.cancelled else "Expired"
            text = brief(command.payload)
            self.say(f"{end}, command {command.seq} of rank {command.sender_rank}: {text}")
            raise
        finally:
            self._waiting -= 1
            self._waiting_size -= size
        try:
            if self.ending:
                raise Rejected("this executor is leaving")
            if self.seat.holds(ticket):
                await self._run(command)
        finally:
            self._places.release()

    def _allowed(self, payload: bytes) -> bool:
        patterns = self._arguments.allow
        if patterns is None:
            return True
        text = payload.decode(errors="surrogateescape").removesuffix("\n")
        # Of "deploy x\nanything" a program that reads lines would run both: no wildcard stands for a line break.
        breaks = line_breaks(text)
        return any(fnmatchcase(text, pattern) and breaks == line_breaks(pattern) for pattern in patterns)

    async def _run(self, command: ReceivedCommand) -> None:
        program, text = self._arguments.program, brief(command.payload)
        about: dict[str, object] = {
            "rank": command.rank,
            "sender_rank": command.sender_rank,
            "seq": command.seq,
        }
        if (left_s := command.seconds_left()) is not None:
            about["deadline"] = f"{left_s:.3f}"
        self.say(f"Command {command.seq} of rank {command.sender_rank}: {text}")
        try:
            child = self.children.start(
                program,
                self.environment(**about),
                payload=command.payload,
                with_output=True,
                with_errors=not self._arguments.local_errors,
            )
        except OSError as error:
            reason = escaped(f"cannot run {program[0]}: {error.strerror}")  # an argument need not be UTF-8
            self.complain(reason)
            await command.finish(Status.FAILED, reason)
            return
        ended = "stopped at its deadline"
        try:
            ended = await finish_command(child, command, self._arguments.max_output)
        finally:
            self.say(f"Command {command.seq}, {'cancelled' if command.cancelled else ended}: {text}")

    def ranked(self, event: Welcomed | Promoted) -> None:
        self._promoted_hook.run(**({"rank_before": event.before} if isinstance(event, Promoted) else {}))

    def lost(self, error: RankmuxError) -> None:
        self._promoted_hook.stop()
        if not self.ending:
            self._lost_hook.run(reason=str(error))

    async def given_up(self) -> None:
        await self._lost_hook.wait(_HOOK_LOST_S)

    def closing(self) -> None:
        self._promoted_hook.clear()  # one that began after the others were stopped would hold up our end
        self._lost_hook.clear()
        for _ in range(self._waiting):
            self._places.release()  # they find out that it ends, and reject their commands


def main(argv: Sequence[str] | None = None) -> int:
    """Execute commands; the exit code."""
    arguments = parser().parse_args(argv)
    return held(lambda: _Work(arguments), arguments.program)
