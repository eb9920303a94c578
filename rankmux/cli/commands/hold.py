"""`rankmux-client hold`: holds a seat for `send` and `who` to use. It executes nothing itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..shared.connection_flags import add_connection_flags
from ..shared.flags import add_keep_flags, add_offer_flag, add_reconnect_flag
from ..shared.parsers import subcommand_parser
from .holding import Holding, held

__all__ = ["main", "parser"]

_EXAMPLES = """\
  rankmux-client hold --seat /run/user/1000/rankmux &
  rankmux-client send --seat /run/user/1000/rankmux --wait status
"""
_EXIT_CODES = """\
  0  ended by SIGTERM
  2  wrong usage, or --seat is in use
  5  no connection: not reachable, server full, wrong token, or lost
  130  ended by Ctrl-C
"""


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = subcommand_parser(
        "hold",
        "Joins, and holds the seat for `send` and `who`. It executes nothing: commands are answered REJECTED."
        " The socket exists once the first line, `Seat: PATH`, has been printed.",
        _EXAMPLES,
        _EXIT_CODES,
    )
    add_offer_flag(parser)
    add_reconnect_flag(parser)
    add_keep_flags(parser)
    add_connection_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Hold a seat; the exit code."""
    arguments = parser().parse_args(argv)
    return held(lambda: Holding(arguments, sys.stdout, reconnect=arguments.reconnect))
