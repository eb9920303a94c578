"""`rankmux-client work`: an executor. For each command that it is sent and may run, it runs a program.

Commands wait here in the order in which they came; so many run at a time. It knows no pipes and no processes; those are
in `work_program` and `children`.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Sequence
from fnmatch import fnmatchcase

from ...core.client.events import ExecuteReceived, Promoted, Welcomed
from ...core.client.session import ClientSession
from ...core.wire.codes import Status
from ...errors import RankmuxError
from ..programs.hook import Hook, program_of
from ..programs.run import ProgramRun
from ..shared.flags import (
    add_joining_flags,
    add_offer_flag,
    add_reconnect_flag,
    number_from,
    seconds,
    subcommand_parser,
)
from ..shared.wording import brief
from .holding import Holding, held

__all__ = ["main", "parser"]

_EXAMPLES = """\
  rankmux-client work -- sh -c 'read command; echo "rank $RANKMUX_RANK got: $command"'
  rankmux-client work --reconnect --parallel 4 --allow 'deploy *' -- ./deploy.py
  rankmux-client work --hook-promoted ./rank-changed.sh -- ./run.sh    # if [ "$RANKMUX_RANK" = 0 ]; then ...
"""
_EXIT_CODES = """\
  2  usage, or --seat is in use
  5  could not connect, full, not let in, or the connection was lost
  130  ended by Ctrl-C or SIGTERM
"""

_WAITING_MAX = 1024
_WAITING_MAX_BYTES = 16 * 1024 * 1024
_HOOK_LOST_S = 60.0  # for so long --hook-lost may run before we end
_UNSENT_MAX_BYTES = 256 * 1024  # above it no output is read: the programs wait for the server


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = subcommand_parser(
        "work",
        "Joins, and runs PROGRAM for each command of a senior. PROGRAM has the command's payload as its standard input;"
        " no shell sees it. Its standard output goes back as partial results, its exit code as OK (0) or FAILED. Its"
        " environment has RANKMUX_RANK, RANKMUX_SENDER_RANK, RANKMUX_SEQ, RANKMUX_DEADLINE (seconds left; not set when"
        " there is no limit), and RANKMUX_SEAT, so that `send` and `who` in it use this seat. At the deadline its"
        " process group gets SIGTERM, and SIGKILL after --grace. When a lost connection is made again, programs that"
        " run go on to their deadlines; their senders have been told LEFT.",
        _EXAMPLES,
        _EXIT_CODES,
    )
    parser.add_argument(
        "--parallel",
        type=number_from(1),
        default=1,
        metavar="K",
        help="how many commands run at a time; more wait (default: %(default)s)",
    )
    parser.add_argument(
        "--allow",
        action="append",
        metavar="PATTERN",
        help="run only commands that match this whole pattern, in which * ? [abc] stand for text within a line,"
        " as in file names; may be given several times. Others are answered REJECTED",
    )
    parser.add_argument(
        "--with-errors",
        action="store_true",
        help="send back PROGRAM's standard error too (default: it goes to ours)",
    )
    parser.add_argument(
        "--max-output",
        type=number_from(0),
        default=8 * 1024 * 1024,
        metavar="BYTES",
        help="how much output of one command goes back; what is over it is cut (default: %(default)s)",
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
        help="run this whenever there is a new rank, at joining too, with RANKMUX_RANK, RANKMUX_RANK_BEFORE (not set at"
        " joining), RANKMUX_TICKET and RANKMUX_MEMBERS; one at a time, and stopped when the connection goes",
    )
    parser.add_argument(
        "--hook-lost",
        metavar="PROGRAM",
        help="run this when the connection goes, with RANKMUX_REASON; it may take a minute before we end",
    )
    add_offer_flag(parser)
    add_reconnect_flag(parser)
    add_joining_flags(parser)
    parser.add_argument(
        "program", nargs="+", metavar="PROGRAM", help="what to run, and its arguments, behind --"
    )
    return parser


class _Work(Holding):
    """Runs commands."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments, sys.stderr, reconnect=arguments.reconnect, grace_s=arguments.grace)
        self._arguments = arguments
        self._waiting: deque[tuple[ExecuteReceived, ClientSession, float | None]] = deque()
        self._waiting_size = 0
        self._running: dict[int, ProgramRun] = {}
        self._runs = 0
        hook_promoted = program_of("--hook-promoted", arguments.hook_promoted)
        hook_lost = program_of("--hook-lost", arguments.hook_lost)
        self._promoted = Hook(self.children, hook_promoted, self.environment, self.complain)
        self._gone = Hook(self.children, hook_lost, self.environment, self.complain)
        self.loop.settlers.append(self._regulate)

    # what comes

    def execute(self, event: ExecuteReceived) -> None:
        session = self.seat.session
        assert session is not None
        size = self._waiting_size + len(event.payload)
        if self.ending:
            self.answer(event.seq, Status.REJECTED, b"this executor is leaving", event.wants_result)
        elif not self._allowed(event.payload):
            self.say(f"Not allowed, rank {event.sender_rank}: {brief(event.payload)}")
            self.answer(event.seq, Status.REJECTED, b"this command is not allowed here", event.wants_result)
        elif len(self._waiting) >= _WAITING_MAX or size > _WAITING_MAX_BYTES:
            text = f"{len(self._waiting)} commands wait here already"
            self.answer(event.seq, Status.FAILED, text.encode(), event.wants_result)
        else:
            deadline_s = self.loop.clock() + event.ttl_ms / 1000 if event.ttl_ms else None
            self._waiting.append((event, session, deadline_s))
            self._waiting_size = size
            self._start_more()

    def _allowed(self, payload: bytes) -> bool:
        patterns = self._arguments.allow
        if patterns is None:
            return True
        text = payload.decode(errors="surrogateescape").removesuffix("\n")
        # Of "deploy x\nanything" a program that reads lines would run both: no wildcard stands for a line break.
        return any(
            fnmatchcase(text, pattern) and text.count("\n") == pattern.count("\n") for pattern in patterns
        )

    def ranked(self, event: Welcomed | Promoted) -> None:
        self._promoted.run(**({"rank_before": event.before} if isinstance(event, Promoted) else {}))

    def lost(self, error: RankmuxError) -> None:
        self._waiting.clear()  # their senders have been told LEFT; nothing could be answered
        self._waiting_size = 0
        self._promoted.stop()
        if not self.ending:
            self._gone.run(reason=str(error))

    def given_up(self) -> None:
        if self._gone.running:
            self._gone.on_end = super().given_up
            self.loop.after(_HOOK_LOST_S, super().given_up)
        else:
            super().given_up()

    def closing(self) -> None:
        self._promoted.forget()  # one that began after the others were stopped would hold up our end
        self._gone.forget()
        while self._waiting:
            event, _, _ = self._waiting.popleft()
            self.answer(event.seq, Status.REJECTED, b"this executor is leaving", event.wants_result)

    # what runs

    def _start_more(self) -> None:
        while self._waiting and len(self._running) < self._arguments.parallel and not self.ending:
            event, session, deadline_s = self._waiting.popleft()
            self._waiting_size -= len(event.payload)
            left_s = None if deadline_s is None else deadline_s - self.loop.clock()
            if left_s is not None and left_s <= 0:
                self.say(f"Too late, command {event.seq} of rank {event.sender_rank}: {brief(event.payload)}")
                self.answer(
                    event.seq, Status.FAILED, b"its time was over before it began", event.wants_result
                )
            else:
                self._start(event, session, left_s)

    def _start(self, event: ExecuteReceived, session: ClientSession, left_s: float | None) -> None:
        self._runs += 1
        run = self._runs
        told: dict[str, object] = {"rank": event.rank, "sender_rank": event.sender_rank, "seq": event.seq}
        if left_s is not None:
            told["deadline"] = f"{left_s:.3f}"

        def ended(words: str) -> None:
            del self._running[run]
            self.say(f"Command {event.seq}, {words}: {brief(event.payload)}")
            self._start_more()

        self.say(f"Command {event.seq} of rank {event.sender_rank}: {brief(event.payload)}")
        try:
            self._running[run] = ProgramRun(
                self.loop,
                self.children,
                self._arguments.program,
                self.environment(**told),
                event,
                session,
                left_s,
                output_max=self._arguments.max_output,
                with_errors=self._arguments.with_errors,
                on_end=ended,
            )
        except OSError as error:
            text = f"{self._arguments.program[0]} cannot be run: {error.strerror}"
            self.complain(text)
            self.answer(event.seq, Status.FAILED, text.encode(), event.wants_result)

    def _regulate(self) -> None:
        """Read the programs' output while the server takes it."""
        reading = self.seat.output_size < _UNSENT_MAX_BYTES
        for run in self._running.values():
            run.child.read(reading)


def main(argv: Sequence[str] | None = None) -> int:
    """Execute commands; the exit code."""
    arguments = parser().parse_args(argv)
    return held(lambda: _Work(arguments))
