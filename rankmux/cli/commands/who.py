"""`rankmux-client who`: lists the members, once or after each change."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence

from ...errors import RankmuxError
from ..seat.channel import open_channel
from ..shared.connection_flags import add_connection_flags
from ..shared.exit_codes import Exit
from ..shared.flags import add_seat_flag, seconds, subcommand_parser
from ..shared.signals import interrupt
from ..shared.streams import Unwritable, put, reader_gone
from ..shared.wording import complain, escaped, unwritten, why

__all__ = ["main", "parser", "table"]

_EXAMPLES = """\
  rankmux-client who
  rankmux-client who --json | jq -r '.members[].name'
  rankmux-client who --watch --interval 0.5
"""
_EXIT_CODES = """\
  0  listed
  1  standard output cannot be written
  2  wrong usage
  3  no answer came in time
  5  no connection: not reachable, server full, wrong token, or lost
  130  ended by Ctrl-C or SIGTERM
"""

# A name has at most 64 bytes, an address 255; one that is much longer would make every line as long.
_CELL_MAX = 300


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = subcommand_parser(
        "who",
        "Lists the members in rank order: rank, ticket, load (commands under way), address and name. A star marks the"
        " seat that asked; one that joined just for this run is the last in the list.",
        _EXAMPLES,
        _EXIT_CODES,
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object per line: rank and ticket of the seat, and members",
    )
    parser.add_argument(
        "--watch", action="store_true", help="keep running, and list the members again after each change"
    )
    parser.add_argument(
        "--interval",
        type=seconds,
        default=1.0,
        metavar="S",
        help="with --watch: seconds between two queries (default: %(default)g)",
    )
    add_seat_flag(parser)
    add_connection_flags(parser)
    return parser


def table(members: Sequence[Mapping[str, object]], ticket: object) -> Iterator[str]:
    """The lines that list `members`, as mappings with the fields of MEMBERS; `ticket` is our own."""
    titles = ("RANK", "TICKET", "LOAD", "ADDRESS", "NAME")
    rows = [titles, *(tuple(_cell(member[title.lower()]) for title in titles) for member in members)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    marks = ["  ", *("* " if member["ticket"] == ticket else "  " for member in members)]
    for mark, (rank, number, load, address, name) in zip(marks, rows, strict=True):
        numbers = f"{rank:>{widths[0]}}  {number:>{widths[1]}}  {load:>{widths[2]}}"
        yield f"{mark}{numbers}  {address:<{widths[3]}}  {name}".rstrip()


def _cell(value: object) -> str:
    text = escaped(str(value))
    return text if len(text) <= _CELL_MAX else text[: _CELL_MAX - 1] + "…"


def _json(members: list[dict[str, object]], ticket: object) -> str:
    rank = next((member["rank"] for member in members if member["ticket"] == ticket), None)
    return json.dumps({"rank": rank, "ticket": ticket, "members": members}) + "\n"


def _list(arguments: argparse.Namespace) -> int:
    """Query and list; the exit code. Raises LocalError, ConnectionLost, ServerError, TimeoutError, Unwritable."""
    channel = open_channel(arguments)
    before = ""
    try:
        while True:
            members = channel.who()
            if arguments.json:
                text = _json(members, channel.ticket)
            else:
                text = "".join(f"{line}\n" for line in table(members, channel.ticket))
            if text != before:
                put(sys.stdout, "\n" * bool(before and not arguments.json) + text)
                before = text
            elif reader_gone(sys.stdout):  # nothing new is written that would tell
                return Exit.FAILED
            if not arguments.watch:
                return Exit.OK
            channel.pause(arguments.interval)
    finally:
        channel.close()


def main(argv: Sequence[str] | None = None) -> int:
    """List the members; the exit code."""
    arguments = parser().parse_args(argv)
    interrupt()
    try:
        return _list(arguments)
    except Unwritable as error:
        unwritten(error)
        return Exit.FAILED
    except TimeoutError:
        complain("no answer came in time")
        return Exit.TIMED_OUT
    except RankmuxError as error:
        complain(why(error))
        return Exit.without_connection(error)
