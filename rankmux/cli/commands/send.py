"""`rankmux-client send`: sends commands through a held seat, or through one of its own, and shows their results."""

from __future__ import annotations

import argparse
import os
import select
import sys
import time
from collections import deque

from ...core.wire.limits import U32_MAX
from ...errors import PayloadTooBig, RankmuxError
from ..seat.channel import HeldSeat, JoinedSeat, open_channel
from ..seat.protocol import Header
from ..shared.connection_flags import add_connection_flags
from ..shared.exit_codes import Exit
from ..shared.flags import add_seat_flag, seconds, subcommand_parser
from ..shared.line_cutter import LineCutter
from ..shared.signals import interrupt
from ..shared.streams import Unwritable
from ..shared.wording import brief, complain, counted, shown, unwritten, why
from .results import Results

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "parser"]

_EXAMPLES = """\
  rankmux-client send --seat PATH reload               # to all below; returns once dispatched
  rankmux-client send --wait --timeout 5 status        # and prints results as they come
  rankmux-client send --to next --wait backup now      # to the one directly below
  printf 'drain\\nrestart\\n' | rankmux-client send --wait -
"""
_EXIT_CODES = """\
  0  all executors succeeded; without --wait: the server has dispatched the command
  1  an executor failed, or left before it answered; or standard output cannot be written
  2  wrong usage, or a payload that is too large
  3  an executor did not answer in time
  4  refused: nobody is below, or no such rank; or an executor rejected it
  5  no connection: not reachable, server full, wrong token, or lost
  130  ended by Ctrl-C or SIGTERM
With several commands, the largest.
"""

_OPEN_MAX = 64  # commands under way; more lines wait in the pipe
_READ_BYTES = 64 * 1024
_ANSWER_S = 10.0  # for the server's answer to a command, and for a DONE that is overdue
_ALONE = (
    "nobody is below a seat that was joined just for this run, it is always the last in line: "
    "send through a held one (--seat or RANKMUX_SEAT; see hold, work and wait)"
)
_ENDS = {
    "failed": "failed",
    "rejected": "rejected it",
    "expired": "did not answer in time",
    "left": "left before it answered",
}


def _to(text: str) -> str | int:
    if text in {"all", "next", "least"}:
        return text
    if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= U32_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: expected all, next, least or a rank")


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = subcommand_parser(
        "send",
        "Sends a command to members below the seat. The words of COMMAND are joined by a space; where COMMAND is -,"
        " each line of standard input is a command, and up to 64 are under way at a time. With --wait, results go to"
        " standard output as they come: those of a single executor unchanged, those of several line by line, each line"
        " after the executor's rank. Everything else goes to standard error.",
        _EXAMPLES,
        _EXIT_CODES,
    )
    parser.add_argument(
        "--to",
        type=_to,
        default="all",
        metavar="{all,next,least,RANK}",
        help="all below (default), the one directly below, the least loaded one below, or the one with that rank",
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
        help="results as JSON, one object per line: command, rank, ticket, status (part, ok, failed, rejected,"
        " expired, left), output (output_base64 where it is not UTF-8)",
    )
    add_seat_flag(parser)
    add_connection_flags(parser)
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="the command, or - for standard input")
    return parser


class _Sending:
    """One run of `send`, through `channel`, which can send payloads of at most `limit` bytes."""

    def __init__(
        self, arguments: argparse.Namespace, channel: HeldSeat | JoinedSeat, limit: int, input_fd: int
    ) -> None:
        self._arguments = arguments
        self._channel = channel
        self._limit = limit
        self._input_fd = input_fd
        self._at_end = arguments.command != ["-"]
        self._cutter = LineCutter(limit)
        self._lines: deque[bytes] = deque()
        if self._at_end:
            self._lines.append(" ".join(arguments.command).encode(errors="surrogateescape"))
        self._open: dict[
            int, tuple[bytes, float | None]
        ] = {}  # payload and deadline of each command under way
        self._last_id = 0
        self._code = Exit.OK
        self._results = Results(arguments.json, single=arguments.to != "all")

    def run(self) -> int:
        """Send all and wait for the answers; the exit code. Raises Unwritable."""
        try:
            while True:
                while self._lines and len(self._open) < _OPEN_MAX:
                    self._send(self._lines.popleft())
                if self._at_end and not self._lines and not self._open:
                    return self._code
                self._turn()
        except RankmuxError as error:
            for command, _ in self._open.values():
                complain(f"the outcome is not known: {brief(command)}")
            self._note(Exit.NOT_CONNECTED, why(error))
        except TimeoutError:
            self._note(Exit.TIMED_OUT, "no answer came in time")
        return self._code

    def _turn(self) -> None:
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        if not self._at_end and not self._lines:
            poll.register(self._input_fd, select.POLLIN)
        ready = dict(poll.poll(self._patience_ms()))
        if self._channel.fileno() in ready or self._channel.look_s is not None:
            for header, payload in self._channel.receive():
                self._replied(header, payload)
        if self._input_fd in ready:
            self._fill()
        now_s = time.monotonic()
        for id_, (_, deadline_s) in list(self._open.items()):
            if deadline_s is not None and deadline_s <= now_s:
                del self._open[id_]
                self._note(Exit.TIMED_OUT, "no answer came in time")

    def _patience_ms(self) -> float | None:
        waits = [
            deadline_s - time.monotonic() for _, deadline_s in self._open.values() if deadline_s is not None
        ]
        if self._channel.look_s is not None:
            waits.append(self._channel.look_s)
        return max(0.0, min(waits)) * 1000 + 1 if waits else None

    def _send(self, payload: bytes) -> None:
        if len(payload) > self._limit:
            self._note(Exit.USAGE, f"not sent: {PayloadTooBig(len(payload), self._limit)}")
            return
        self._last_id += 1
        wait, timeout_s = self._arguments.wait, self._arguments.timeout
        deadline_s = time.monotonic() + _ANSWER_S + (timeout_s or 0.0) if timeout_s or not wait else None
        self._open[self._last_id] = payload, deadline_s
        self._channel.command(self._last_id, self._arguments.to, payload, results=wait, timeout_s=timeout_s)

    def _fill(self) -> None:
        try:
            data = os.read(self._input_fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # the terminal has gone
            data = b""
        self._at_end = not data
        self._lines += filter(None, map(bytes.strip, self._cutter.feed(data)))

    def _replied(self, header: Header, payload: bytes) -> None:
        kind, id_ = header.get("is"), header.get("id")
        if not isinstance(id_, int) or id_ not in self._open:
            return
        self._tell(kind, header, payload, self._open[id_][0])
        if kind in {"done", "refused", "unsent", "lost"} or (kind == "accepted" and not self._arguments.wait):
            del self._open[id_]

    def _tell(self, kind: object, header: Header, payload: bytes, command: bytes) -> None:
        match kind:
            case "result":
                self._results.result(header, payload, command)
                if (status := str(header["status"])) in _ENDS:
                    text = shown(payload.removesuffix(b"\n"))
                    complain(f"rank {header['rank']} {_ENDS[status]}" + (f": {text}" if text else ""))
            case "accepted":
                if not self._arguments.wait:
                    complain(f"sent to {counted(header['executors'])}: {brief(command)}")
            case "done":
                self._done(header, command)
            case "refused":
                self._note(Exit.REFUSED, f"refused, {shown(payload)}: {brief(command)}")
                if header["code"] == 1 and self._channel.joined:
                    complain(_ALONE)
            case "unsent":
                self._note(Exit.NOT_CONNECTED, f"not sent, {shown(payload)}: {brief(command)}")
            case "lost":
                text = f"{shown(payload)}; the outcome is not known: {brief(command)}"
                self._note(Exit.NOT_CONNECTED, text)
            case _:
                pass

    def _done(self, header: Header, command: bytes) -> None:
        self._results.end(header)
        numbers = {end: header.get(end) for end in ("ok", "failed", "rejected", "expired", "left")}
        worst = {end: int(str(number)) for end, number in numbers.items() if end != "ok"}
        self._code = max(self._code, Exit.of(**worst))
        counts = ", ".join(f"{number} {end}" for end, number in numbers.items() if number)
        complain(f"{counts}: {brief(command)}")

    def _note(self, code: Exit, text: str) -> None:
        self._code = max(self._code, code)
        complain(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Send; the exit code."""
    arguments = parser().parse_args(argv)
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
        code = _Sending(arguments, channel, channel.max_payload, sys.stdin.fileno()).run()
    except Unwritable as error:
        unwritten(error)
        code = Exit.FAILED
    # Not when it was interrupted: to leave in order would first send what may have been sent already.
    channel.close()
    return code
