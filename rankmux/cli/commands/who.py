"""`rankmux-client who`: lists the members, and prints each change of the list as it comes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence

from ...errors import RankmuxError
from ..seat.channel import HeldSeat
from ..seat.observer import Observer, open_view
from ..shared.connection_flags import add_connection_flags
from ..shared.exit_codes import Exit
from ..shared.flags import add_seat_flag
from ..shared.parsers import subcommand_parser
from ..shared.signals import interrupt
from ..shared.streams import Unwritable, put, reader_gone
from ..shared.wording import complain, counted, escaped, unwritten, why

__all__ = ["main", "parser", "table"]

_EXAMPLES = """\
  rankmux-client who
  rankmux-client who --json | jq -r '.members[].name'
  rankmux-client who --watch --json | jq --unbuffered -r 'select(.what == "lost").name'
"""
_EXIT_CODES = """\
  0  listed; with --watch: ended by Ctrl-C or SIGTERM
  1  standard output cannot be written
  2  wrong usage
  3  no answer came in time
  5  no connection: not reachable, wrong token, too many that look on, or lost
  130  ended by Ctrl-C or SIGTERM
"""

# A name has at most 64 bytes, an address 255; one that is much longer would make every line as long.
_CELL_MAX = 300
_WORDS = {"evicted": "thrown out", "yielded": "stepped back"}


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = subcommand_parser(
        "who",
        "Lists the members in rank order: rank, ticket, load (commands under way, or `absent` for a member whose seat"
        " is kept while it is not connected), address and name. A star marks the held seat that asked. Without a held"
        " seat it only looks on: it takes no seat, and works when the room is full.",
        _EXAMPLES,
        _EXIT_CODES,
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object per line: rank and ticket of the seat, and members",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="keep running, and print each change as it comes, on one line (with --json: seq, what, ticket, rank,"
        " members, name)",
    )
    add_seat_flag(parser)
    add_connection_flags(parser)
    return parser


def table(members: Sequence[Mapping[str, object]], ticket: object) -> Iterator[str]:
    """The lines that list `members`, as mappings with the fields of MEMBERS; `ticket` is our own."""
    titles = ("RANK", "TICKET", "LOAD", "ADDRESS", "NAME")
    shown = ({**member, "load": "absent"} if member.get("absent") else member for member in members)
    rows = [titles, *(tuple(_cell(member[title.lower()]) for title in titles) for member in shown)]
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


def _changed(change: Mapping[str, object]) -> str:
    """A change on one line: `joined: rank 3, ticket 17, web-3; 4 members`."""
    what = _WORDS.get(str(change["what"]), str(change["what"]))
    name = f", {_cell(change['name'])}" if change["name"] else ""
    return (
        f"{_cell(what)}: rank {change['rank']}, ticket {change['ticket']}{name}; {counted(change['members'])}"
    )


def _list(arguments: argparse.Namespace) -> int:
    """Query and list; the exit code. Raises LocalError, ConnectionLost, ServerError, TimeoutError, Unwritable."""
    view = open_view(arguments, watch=arguments.watch)
    try:
        if not arguments.watch:
            _put_members(view.who(), view.ticket, as_json=arguments.json)
            return Exit.OK
        return _watch(view, as_json=arguments.json)
    finally:
        view.close()


def _watch(view: HeldSeat | Observer, *, as_json: bool) -> int:
    for told in view.watch():
        if isinstance(told, list):
            _put_members(told, view.ticket, as_json=as_json)
        elif told is not None:
            fields = ("seq", "what", "ticket", "rank", "members", "name")
            row = json.dumps({field: told[field] for field in fields}) if as_json else _changed(told)
            put(sys.stdout, f"{row}\n")
        elif reader_gone(sys.stdout):  # nothing new is written that would tell
            return Exit.FAILED
    return Exit.OK


def _put_members(members: list[dict[str, object]], ticket: object, *, as_json: bool) -> None:
    put(
        sys.stdout,
        _json(members, ticket) if as_json else "".join(f"{line}\n" for line in table(members, ticket)),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """List the members; the exit code."""
    arguments = parser().parse_args(argv)
    interrupt()
    try:
        return _list(arguments)
    except KeyboardInterrupt:
        if not arguments.watch:
            raise
        return Exit.OK
    except Unwritable as error:
        unwritten(error)
        return Exit.FAILED
    except TimeoutError:
        complain("no answer came in time")
        return Exit.TIMED_OUT
    except RankmuxError as error:
        complain(why(error))
        return Exit.without_connection(error)
