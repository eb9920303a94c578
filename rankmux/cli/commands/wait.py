"""`rankmux-client wait`: until this seat has reached a rank; and a program that runs for as long as it holds it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ...core.client.events import Promoted, Welcomed
from ...errors import RankmuxError
from ..programs.children import exit_code_of
from ..shared.connection_flags import Exit
from ..shared.flags import add_joining_flags, add_offer_flag, number_from, seconds, subcommand_parser
from ..shared.wording import why
from .holding import Holding, held

__all__ = ["main", "parser"]

_EXAMPLES = """\
  rankmux-client wait --rank 0 -- ./leader.sh      # leader.sh may call: rankmux-client send --wait status
  rankmux-client wait --timeout 5 && echo "I could lead"
  while :; do rankmux-client wait -- ./leader.sh; sleep 1; done
"""
_EXIT_CODES = """\
  0  the rank was reached, if no PROGRAM was given; else that of PROGRAM (128 and the signal if one ended it)
  2  usage, or --seat is in use
  3  the rank was not reached within --timeout
  5  could not connect, full, not let in, or the connection was lost; PROGRAM, if it ran, was stopped
  126, 127  PROGRAM cannot be run, is not there
  130  ended by Ctrl-C or SIGTERM; PROGRAM, if it ran, was stopped
"""


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = subcommand_parser(
        "wait",
        "Joins, and waits until this seat has the rank --rank or a higher one; then returns, or runs PROGRAM and holds"
        " the seat until that has ended: a lock that goes to the next in line when its holder goes. If the connection"
        " is lost while PROGRAM runs, it is stopped, since somebody else may hold the rank then: SIGTERM to its process"
        " group, SIGKILL after --grace. PROGRAM has RANKMUX_RANK, RANKMUX_TICKET (which only grows from holder to"
        " holder: fence with it), RANKMUX_MEMBERS, and RANKMUX_SEAT, so that `send` and `who` in it use this seat.",
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
        "--timeout", type=seconds, metavar="S", help="seconds to wait for it (default: for ever)"
    )
    parser.add_argument(
        "--grace",
        type=seconds,
        default=5.0,
        metavar="S",
        help="seconds from SIGTERM to SIGKILL when PROGRAM is stopped (default: %(default)g)",
    )
    add_offer_flag(parser)
    add_joining_flags(parser)
    parser.add_argument(
        "program", nargs="*", metavar="PROGRAM", help="what to run, and its arguments, behind --"
    )
    return parser


class _Wait(Holding):
    """Waits for its rank, once."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments, sys.stderr, reconnect=False, grace_s=arguments.grace)
        self._rank: int = arguments.rank
        self._program: list[str] = arguments.program
        self._reached = False
        if arguments.timeout is not None:
            self.loop.after(arguments.timeout, self._overdue)

    def ranked(self, event: Welcomed | Promoted) -> None:
        if self._reached or event.rank > self._rank:
            return
        self._reached = True
        if not self._program:
            self.finish(Exit.OK)
            return
        try:
            self.children.start(
                self._program,
                self.environment(),
                own_input=True,
                on_end=lambda returncode: self.finish(exit_code_of(returncode)),
            )
        except OSError as error:
            self.complain(f"{self._program[0]} cannot be run: {error.strerror}")
            self.finish(127 if isinstance(error, FileNotFoundError) else 126)

    def lost(self, error: RankmuxError) -> None:
        if self._reached and self._program:
            self.complain(f"the program is stopped, the rank may be another's now ({why(error)})")

    def _overdue(self) -> None:
        if not self._reached:
            self.complain(f"rank {self._rank} was not reached in time")
            self.finish(Exit.TIMED_OUT)


def main(argv: Sequence[str] | None = None) -> int:
    """Wait for a rank; the exit code."""
    arguments = parser().parse_args(argv)
    return held(lambda: _Wait(arguments))
