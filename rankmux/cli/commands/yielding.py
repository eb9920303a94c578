"""`rankmux-client yield`: gives up the rank of a seat, and takes the last place."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..shared.connection_flags import add_connection_flags
from ..shared.flags import add_seat_flag
from ..shared.parsers import subcommand_parser
from ..shared.signals import interrupt
from ..shared.wording import printed
from .asking import ask

__all__ = ["main", "parser"]

_EXAMPLES = """\
  rankmux-client yield --seat PATH
  rankmux-client yield                # in a program that wait or work runs
"""
_EXIT_CODES = """\
  0  the seat is the last in line now, and standard output has its rank
  1  standard output cannot be written, or the program of `wait` could not be stopped
  2  wrong usage
  3  no answer came in time
  4  refused: nobody is below
  5  no connection: not reachable, server full, wrong token, or lost
  130  ended by Ctrl-C or SIGTERM
"""


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = subcommand_parser(
        "yield",
        "Has a held seat step back: it gives up its rank, all below move up, and it takes the last place under a new"
        " ticket, without a moment in which its place could be taken. Commands that it executes end as LEFT for their"
        " senders. `wait` stops its PROGRAM before it steps back, and then waits for its rank again.",
        _EXAMPLES,
        _EXIT_CODES,
    )
    add_seat_flag(parser)
    add_connection_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Step back; the exit code."""
    arguments = parser().parse_args(argv)
    interrupt()
    return ask(arguments, lambda channel: printed(f"{channel.step_back()}\n"))
