"""`rankmux-client send`: sends commands through a held seat, or through one of its own, and shows their results."""

from __future__ import annotations

import argparse
import json
import sys

from ...errors import ArgumentError, RankmuxError
from ...system.printable import escaped
from ..seat.channel import HeldSeat, JoinedSeat, open_channel
from ..shared.connection_flags import add_connection_flags
from ..shared.exit_codes import Exit
from ..shared.flags import add_seat_flag, number_from, seconds
from ..shared.parsers import subcommand_parser
from ..shared.signals import Interrupts, interrupt
from ..shared.streams import Unwritable, put
from ..shared.targets import EXPECTED, Target, target_of
from ..shared.wording import complain, counted, unwritten, why
from .sending import Sending, rows

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "parser"]

_EXAMPLES = """\
  rankmux-client send --seat PATH reload               # to all below; returns once dispatched
  rankmux-client send --wait --timeout 5 status        # and prints results as they come
  rankmux-client send --to next --wait backup now      # to the one directly below
  rankmux-client send --to 'web-*' --dry-run           # who would get it
  rankmux-client send --fold uname -r                  # equal outputs once
  rankmux-client send --batch 2 --max-failures 1 --to 'web-*' restart
  printf 'drain\\nrestart\\n' | rankmux-client send --wait -
"""
_EXIT_CODES = """\
  0  all executors succeeded; without --wait: the server has dispatched the command
  1  an executor failed, or left before it answered; or standard output cannot be written
  2  wrong usage, or a payload that is too large
  3  an executor did not answer in time
  4  refused: nobody is below, or none of those that --to names; or an executor rejected it; with --strict: some of
     those that --to names were passed over
  5  no connection: not reachable, server full, wrong token, or lost
  130  ended by Ctrl-C or SIGTERM; with --wait, the first one cancels the commands, waits up to 2 s for the end of
       their executors and shows what has come, and the second ends at once
With several commands, the largest.
"""


def _to(text: str) -> Target:
    try:
        return target_of(text)
    except ArgumentError:
        raise argparse.ArgumentTypeError(f"{text!r}: {EXPECTED}") from None


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = subcommand_parser(
        "send",
        "Sends a command to members below the seat. The words of COMMAND are joined by a space; where COMMAND is -,"
        " each line of standard input is a command, and up to 64 are under way at a time. With --wait, results go to"
        " standard output as they come: those of a single executor unchanged, those of several line by line, each line"
        " after the executor's rank and name. Everything else goes to standard error.",
        _EXAMPLES,
        _EXIT_CODES,
    )
    parser.add_argument(
        "--to",
        type=_to,
        default=target_of("all"),
        metavar="{all,next,least,MEMBERS}",
        help="all below (default), the one directly below, the least loaded one below, or MEMBERS: ranks such as 2 or"
        " 1-5,8; ticket:N; a name, or a pattern of names such as 'web-*' (name:2 for a name that looks like a rank);"
        " with ! in front, all but those: '!db-*'. Several are separated by commas. They are looked up in one list of"
        " the members and addressed by ticket",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="send nothing, and print rank, ticket and name of each member that would execute it",
    )
    parser.add_argument("--wait", action="store_true", help="wait for the results")
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="S",
        help="seconds until a command expires, which its executors know (default: 60 with --wait, else never)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="results as JSON, one object per line: command, id, seq, status (part, ok, failed, rejected, expired,"
        " left, cancelled), rank, ticket, name; for part and ok, output (output_base64 where it is not UTF-8); for an"
        " end, exit_code and error. The last line of a command has the status done (or refused, unsent, lost; sent"
        " without --wait), counts, executors, and rejected and absent, the members that were passed over",
    )
    parser.add_argument(
        "--fold",
        action="store_true",
        help="wait for the results, and print equal outputs once, with the ranks and names of their executors",
    )
    parser.add_argument(
        "--batch",
        type=number_from(1),
        metavar="K",
        help="wait for the results, and send to K members at a time, in rank order, the next ones when those before"
        " have ended; the list of members is made at the start",
    )
    parser.add_argument(
        "--max-failures",
        type=number_from(0),
        metavar="N",
        help="with --batch: begin no further batch when more than N members have not succeeded, and report the rest as"
        " not tried (default: 0)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit code 4 also when members that --to names do not get it, as they are above the seat, absent, or not"
        " there; they are reported in any case",
    )
    add_seat_flag(parser)
    add_connection_flags(parser)
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="the command, or - for standard input")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Send; the exit code."""
    own = parser()
    arguments = own.parse_args(argv)
    if not arguments.command and not arguments.dry_run:
        own.error("the following arguments are required: COMMAND")
    if arguments.fold and arguments.json:
        own.error("--fold is for people, --json for programs: give one of them")
    _check_batch(own, arguments)
    arguments.wait = arguments.wait or arguments.fold or arguments.batch is not None
    interrupt()
    try:
        channel = open_channel(arguments)
    except RankmuxError as error:
        complain(why(error))
        return Exit.without_connection(error)
    if channel.max_payload is None:
        complain("the seat is not connected to its server now")
        return Exit.NOT_CONNECTED
    try:
        interrupts = Interrupts()
        if arguments.dry_run:
            code = _dry_run(arguments.to, channel, as_json=arguments.json)
        else:
            code = Sending(arguments, channel, channel.max_payload, sys.stdin.fileno(), interrupts).run()
    except Unwritable as error:
        unwritten(error)
        code = Exit.FAILED
    except TimeoutError:
        complain("no answer came in time")
        code = Exit.TIMED_OUT
    except RankmuxError as error:
        complain(why(error))
        code = Exit.NOT_CONNECTED
    # Not when it was interrupted: to leave in order would first send what may have been sent already.
    channel.close()
    return code


def _check_batch(own: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.batch is None:
        if arguments.max_failures is not None:
            own.error("--max-failures needs --batch K beside it")
        return
    if arguments.command == ["-"] or arguments.to.keyword in {"next", "least"}:
        own.error("--batch is for one command to several members: not for -, nor for --to next or least")
    arguments.max_failures = arguments.max_failures or 0


def _dry_run(target: Target, channel: HeldSeat | JoinedSeat, *, as_json: bool) -> int:
    """Print the members that would execute a command now; the exit code. Raises as `who`, and Unwritable."""
    members = channel.who()
    own = next((row["rank"] for row in members if row["ticket"] == channel.ticket), -1)
    below = [row for row in members if int(str(row["rank"])) > int(str(own))]
    if target.keyword == "next":
        below = below[:1]
    elif target.keyword is None:
        found = target.find(rows(members), channel.ticket)
        for text in found.unknown:
            complain(f"nobody is {text!r}")
        below = [row for row in below if row["ticket"] in found.tickets]
    present = [row for row in below if not row["absent"]]
    absent = len(below) - len(present)
    if target.keyword == "least":
        present = sorted(present, key=lambda row: int(str(row["load"])))[:1]  # the most senior one of equals
    if absent:
        complain(f"passed over, absent: {counted(absent)}")
    elif not present:
        complain(target.nobody)
    fields = ("rank", "ticket", "name")
    if as_json:
        lines = [json.dumps({field: row[field] for field in fields}) for row in present]
    else:
        lines = ["\t".join(escaped(str(row[field])) for field in fields) for row in present]
    put(sys.stdout, "".join(f"{line}\n" for line in lines))
    return Exit.OK if present else Exit.REFUSED
