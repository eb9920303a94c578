"""`rankmux-client baton`: reads or writes the note that rank 0 leaves for the next member with rank 0."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ...errors import PayloadTooBig
from ..seat.channel import HeldSeat, JoinedSeat
from ..shared.connection_flags import add_connection_flags
from ..shared.exit_codes import Exit
from ..shared.flags import add_seat_flag
from ..shared.parsers import subcommand_parser
from ..shared.signals import interrupt
from ..shared.streams import Unwritable, write_all
from ..shared.wording import unwritten
from .asking import ask

__all__ = ["main", "parser"]

_EXAMPLES = """\
  rankmux-client baton --seat PATH                     # print it
  rankmux-client baton 'job 17 is done'                # in a program of `wait --rank 0`
  rankmux-client baton - < state
  rankmux-client baton --delete
"""
_EXIT_CODES = """\
  0  read or written; nothing is printed where there is no note
  1  standard output cannot be written
  2  wrong usage, or a note that is too large
  3  no answer came in time
  4  refused: the seat does not have rank 0
  5  no connection: not reachable, server full, wrong token, or lost
  130  ended by Ctrl-C or SIGTERM
"""


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = subcommand_parser(
        "baton",
        "Prints the baton, a note that is handed on from rank 0 to the next member with rank 0, or writes it. Only a"
        " seat with rank 0 can do either. The server keeps the last one that was written, for as long as it runs."
        " A PROGRAM that `wait --rank 0` runs finds the note in the file RANKMUX_BATON_FILE, which is empty where there"
        " is none.",
        _EXAMPLES,
        _EXIT_CODES,
    )
    parser.add_argument("--delete", action="store_true", help="delete the note")
    add_seat_flag(parser)
    add_connection_flags(parser)
    parser.add_argument("note", nargs="?", metavar="NOTE", help="the new note, or - for standard input")
    return parser


def _note(arguments: argparse.Namespace) -> bytes | None:
    """The note to write; None to read it."""
    if arguments.delete:
        return b""
    if arguments.note is None:
        return None
    if arguments.note == "-":
        return sys.stdin.buffer.read()
    return str(arguments.note).encode(errors="surrogateescape")


def _carry_out(channel: HeldSeat | JoinedSeat, note: bytes | None) -> int:
    if channel.max_payload is not None and note is not None and len(note) > channel.max_payload:
        raise PayloadTooBig(len(note), channel.max_payload)
    read = channel.baton(note)
    if note is not None:
        return Exit.OK
    try:
        write_all(sys.stdout.fileno(), read)
    except Unwritable as error:
        unwritten(error)
        return Exit.FAILED
    return Exit.OK


def main(argv: Sequence[str] | None = None) -> int:
    """Read or write the baton; the exit code."""
    own = parser()
    arguments = own.parse_args(argv)
    if arguments.delete and arguments.note is not None:
        own.error("--delete takes no NOTE")
    interrupt()  # reading standard input may take long
    note = _note(arguments)
    return ask(arguments, lambda channel: _carry_out(channel, note))
