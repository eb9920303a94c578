"""`rankmux-client who`: lists the members, once or whenever the list has changed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence

from ...errors import ConnectionLost, LocalError, RankmuxError
from ..seat.channel import Channel, open_channel
from ..seat.loop import Loop
from ..seat.protocol import Header
from ..shared.client_words import shown
from ..shared.connection_flags import Exit
from ..shared.flags import add_joining_flags, add_seat_flag, seconds, subcommand_parser
from ..shared.streams import Unwritable, put, reader_gone
from ..shared.wording import complain, unwritten, why

__all__ = ["main", "parser", "table"]

_EXAMPLES = """\
  rankmux-client who
  rankmux-client who --json | jq -r '.members[].name'
  rankmux-client who --watch --interval 0.5
"""
_EXIT_CODES = """\
  0  listed
  1  standard output cannot be written
  2  usage
  3  no answer came in time
  5  could not connect, full, not let in, or the connection was lost
  130  ended by Ctrl-C or SIGTERM
"""
_PATIENCE_S = 10.0


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = subcommand_parser(
        "who",
        "Lists the members in rank order: rank, ticket, load (commands under way), address and name. A star marks the"
        " seat that was asked through; joined for this alone, it is in the list as the last one.",
        _EXAMPLES,
        _EXIT_CODES,
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="an object a line: rank and ticket of the seat itself, and members",
    )
    parser.add_argument(
        "--watch", action="store_true", help="go on, and list them whenever something has changed"
    )
    parser.add_argument(
        "--interval",
        type=seconds,
        default=1.0,
        metavar="S",
        help="with --watch: seconds between two looks (default: %(default)g)",
    )
    add_seat_flag(parser)
    add_joining_flags(parser)
    return parser


def table(members: Sequence[Mapping[str, object]], ticket: object) -> Iterator[str]:
    """The lines that list `members`, as dicts with the fields of MEMBERS; `ticket` is our own."""
    titles = ("RANK", "TICKET", "LOAD", "ADDRESS", "NAME")
    rows = [titles, *(tuple(str(member[title.lower()]) for title in titles) for member in members)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    marks = ["  ", *("* " if member["ticket"] == ticket else "  " for member in members)]
    for mark, (rank, number, load, address, name) in zip(marks, rows, strict=True):
        numbers = f"{rank:>{widths[0]}}  {number:>{widths[1]}}  {load:>{widths[2]}}"
        yield f"{mark}{numbers}  {address:<{widths[3]}}  {name}".rstrip()


class _Who:
    """One run of `who`."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._loop = Loop()
        self._loop.on_interrupt = lambda: self._finish(Exit.INTERRUPTED)
        self._channel: Channel | None = None
        self._ticket: object = None
        self._asked = 0
        self._shown = ""
        self._ending = False

    def run(self) -> int:
        """List them; the exit code. Raises LocalError, ConnectionLost."""
        try:
            self._channel = open_channel(self._loop, self._arguments, self._replied, self._gone)
            return self._loop.run()
        except KeyboardInterrupt:
            return Exit.INTERRUPTED
        finally:
            self._loop.close()

    def _ask(self) -> None:
        if not self._ending:
            assert self._channel is not None
            self._asked += 1
            asked = self._asked
            self._channel.request({"do": "who", "id": asked})
            self._loop.after(_PATIENCE_S, lambda: self._overdue(asked))

    def _overdue(self, asked: int) -> None:
        if asked == self._asked:
            complain("no answer came in time")
            self._finish(Exit.TIMED_OUT)

    def _replied(self, header: Header, payload: bytes) -> None:
        match header.get("is"):
            case "seat":
                self._ticket = header.get("ticket")
                self._loop.after(0.0, self._ask)
            case "members":
                self._list(json.loads(payload))
            case "lost" | "unsent":
                complain(shown(payload))
                self._finish(Exit.NOT_CONNECTED)
            case _:
                pass

    def _list(self, members: list[dict[str, object]]) -> None:
        text = (
            self._json(members)
            if self._arguments.json
            else "".join(f"{line}\n" for line in table(members, self._ticket))
        )
        try:
            if text != self._shown:
                put(sys.stdout, "\n" * bool(self._shown and not self._arguments.json) + text)
            elif reader_gone(sys.stdout):  # nothing new is written that would tell
                self._finish(Exit.FAILED)
        except Unwritable as error:
            unwritten(error)
            self._finish(Exit.FAILED)
        self._shown = text
        self._asked += 1  # answered
        if self._arguments.watch:
            self._loop.after(self._arguments.interval, self._ask)
        else:
            self._finish(Exit.OK)

    def _json(self, members: list[dict[str, object]]) -> str:
        rank = next((member["rank"] for member in members if member["ticket"] == self._ticket), None)
        return json.dumps({"rank": rank, "ticket": self._ticket, "members": members}) + "\n"

    def _gone(self, error: RankmuxError) -> None:
        complain(why(error))
        self._finish(Exit.NOT_CONNECTED)

    def _finish(self, code: Exit) -> None:
        if not self._ending:
            self._ending = True
            if self._channel is None:
                self._loop.stop(code)
            else:
                self._channel.close(lambda: self._loop.stop(code))


def main(argv: Sequence[str] | None = None) -> int:
    """List the members; the exit code."""
    arguments = parser().parse_args(argv)
    try:
        return _Who(arguments).run()
    except LocalError as error:
        complain(str(error))
        return Exit.USAGE
    except ConnectionLost as error:
        complain(error.reason)
        return Exit.NOT_CONNECTED
