"""`rankmux-client who`: lists the members, and prints each change of the list as it comes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...errors import RankmuxError
from ...system.printable import escaped
from ..seat.channel import HeldSeat
from ..seat.observer import Observer, open_view
from ..shared.connection_flags import add_connection_flags
from ..shared.exit_codes import Exit
from ..shared.flags import add_seat_flag
from ..shared.parsers import subcommand_parser
from ..shared.signals import interrupt
from ..shared.streams import Unwritable, put, reader_gone
from ..shared.wording import complain, counted, unwritten, why
from ..shared.wrapping import wrapped

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


_TITLES = ("RANK", "TICKET", "LOAD", "ADDRESS", "NAME")
_NARROWER = (_TITLES, ("RANK", "TICKET", "LOAD", "NAME"), ("RANK", "LOAD", "NAME"))
"""The columns for terminals that are ever narrower."""


def table(
    members: Sequence[Mapping[str, object]], ticket: object, columns: int | None = None
) -> Iterator[str]:
    """The lines that list `members`, as mappings with the fields of MEMBERS; `ticket` is our own.

    What is too wide for `columns` is left out, which the last line tells.
    """
    for titles in _NARROWER:
        lines = list(_rows(members, ticket, titles))
        if columns is None or max(map(len, lines)) <= columns:
            break
    if missing := [title.lower() for title in _TITLES if title not in titles]:
        lines.append(f"(too narrow for {' and '.join(missing)})")
    yield from lines


def _rows(members: Sequence[Mapping[str, object]], ticket: object, titles: tuple[str, ...]) -> Iterator[str]:
    shown = ({**member, "load": "absent"} if member.get("absent") else member for member in members)
    rows = [titles, *(tuple(_cell(member[title.lower()]) for title in titles) for member in shown)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    marks = ["  ", *("* " if member["ticket"] == ticket else "  " for member in members)]
    for mark, row in zip(marks, rows, strict=True):
        cells = (
            f"{cell:{'<' if title in {'ADDRESS', 'NAME'} else '>'}{width}}"
            for title, cell, width in zip(titles, row, widths, strict=True)
        )
        yield (mark + "  ".join(cells)).rstrip()


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
    return f"{_cell(what)}: rank {change['rank']}, ticket {change['ticket']}{name}; {counted(change['member_count'])}"


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
            fields = ("seq", "what", "ticket", "rank", "member_count", "name")
            if as_json:
                put(sys.stdout, json.dumps({field: told[field] for field in fields}) + "\n")
            else:
                put(sys.stdout, _fitted([_changed(told)], _columns()))
        elif reader_gone(sys.stdout):  # nothing new is written that would tell
            return Exit.FAILED
    return Exit.OK


def _put_members(members: list[dict[str, object]], ticket: object, *, as_json: bool) -> None:
    if as_json:
        put(sys.stdout, _json(members, ticket))
    else:
        columns = _columns()
        put(sys.stdout, _fitted(table(members, ticket, columns), columns))


def _columns() -> int | None:
    """The width of the terminal; None where standard output is none."""
    try:
        return os.get_terminal_size(1).columns or None
    except OSError:
        return None


def _fitted(lines: Iterable[str], columns: int | None) -> str:
    """`lines` with their ends, wrapped at words."""
    rows = (row for line in lines for row in wrapped([("", line)], columns or len(line)))
    return "".join("".join(text for _, text in row) + "\n" for row in rows)


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
