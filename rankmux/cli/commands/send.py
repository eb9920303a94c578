"""`rankmux-client send`: sends commands through a held seat, or through one of its own, and shows what comes back."""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from collections.abc import Sequence
from math import ceil

from ...core.wire.codes import U32_MAX
from ...errors import ConnectionLost, LocalError, PayloadTooBig, RankmuxError
from ..seat.channel import Channel, open_channel
from ..seat.loop import READABLE, Loop
from ..seat.protocol import Header
from ..shared.client_words import shown
from ..shared.connection_flags import Exit
from ..shared.flags import add_joining_flags, add_seat_flag, seconds, subcommand_parser
from ..shared.streams import Unwritable
from ..shared.wording import brief, complain, counted, unwritten, why
from .results import Results

__all__ = ["main", "parser"]

_EXAMPLES = """\
  rankmux-client send --seat PATH reload               # to all below; returns when it is on its way
  rankmux-client send --wait --timeout 5 status        # and prints what they answer, as it comes
  rankmux-client send --to next --wait backup now      # to the one directly below
  printf 'drain\\nrestart\\n' | rankmux-client send --wait -
"""
_EXIT_CODES = """\
  0  all ok; without --wait: it is on its way
  1  some failed, or left before they answered; or standard output cannot be written
  2  usage, or a payload that is too large
  3  some did not answer in time
  4  refused, nobody below, or some rejected it
  5  could not connect, full, not let in, or the connection was lost
  130  ended by Ctrl-C or SIGTERM
Of several, the largest.
"""

_OPEN_MAX = 64  # more lines wait in the pipe
_UNSENT_MAX_BYTES = 256 * 1024
_READ_BYTES = 64 * 1024
_PATIENCE_S = 10.0  # for the server's word on a command, and for a DONE that should have come
_LONELY = (
    "nobody is below a seat that was joined for this alone, it is always the last in line: "
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
    raise argparse.ArgumentTypeError(f"{text!r}: all, next, least or a rank is expected")


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = subcommand_parser(
        "send",
        "Sends a command to members below the seat. The words of COMMAND are joined by a space; where COMMAND is -,"
        " each line of standard input is one, up to 64 of them under way at a time. With --wait, what the executors"
        " answer goes to standard output as it comes: from one executor as it is, from several each line behind its"
        " rank. Everything else goes to standard error.",
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
        help="seconds until a command expires, and its executors are told so (default: 60 with --wait, else never)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="results as JSON, an object a line: command, rank, ticket, status (part, ok, failed, rejected, expired,"
        " left), output (output_base64 where it is not UTF-8)",
    )
    add_seat_flag(parser)
    add_joining_flags(parser)
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="the command, or - for standard input")
    return parser


class _Sending:
    """One run of `send`."""

    def __init__(self, arguments: argparse.Namespace, input_fd: int) -> None:
        self._loop = Loop()
        self._arguments = arguments
        self._input_fd = input_fd
        self._reads = arguments.command == ["-"]
        self._lines: deque[bytes] = deque()
        if not self._reads:
            self._lines.append(" ".join(arguments.command).encode(errors="surrogateescape"))
        self._rest = bytearray()
        self._skipping = False
        self._at_end = not self._reads
        self._open: dict[int, bytes] = {}
        self._last_id = 0
        self._max_payload: int | None = None
        self._ready = False
        self._ending = False
        self._code = Exit.OK
        self._results = Results(arguments.json, single=arguments.to != "all")
        self._channel: Channel | None = None
        self._loop.on_interrupt = lambda: self._finish(Exit.INTERRUPTED)
        self._loop.settlers.append(self._advance)

    def run(self) -> int:
        """Send all; the exit code. Raises LocalError, ConnectionLost."""
        try:
            self._channel = open_channel(self._loop, self._arguments, self._replied, self._gone)
            return self._loop.run()
        except KeyboardInterrupt:
            return Exit.INTERRUPTED
        finally:
            self._loop.close()

    # what goes out

    def _advance(self) -> float | None:
        while self._lines and self._may_send():
            self._send(self._lines.popleft())
        if self._reads:
            wants = self._ready and not self._at_end and not self._lines and not self._ending
            self._loop.watch(self._input_fd, READABLE if wants else 0, self._fill)
        if self._ready and self._at_end and not self._lines and not self._open:
            self._finish(self._code)
        return None

    def _may_send(self) -> bool:
        return (
            self._ready
            and not self._ending
            and len(self._open) < _OPEN_MAX
            and self._channel is not None
            and self._channel.unsent_size < _UNSENT_MAX_BYTES
        )

    def _send(self, payload: bytes) -> None:
        assert self._channel is not None
        if self._max_payload is not None and len(payload) > self._max_payload:
            self._note(Exit.USAGE, f"not sent: {PayloadTooBig(len(payload), self._max_payload)}")
            return
        self._last_id += 1
        id_ = self._last_id
        self._open[id_] = payload
        timeout_s = self._arguments.timeout
        header = {
            "do": "command",
            "id": id_,
            "to": self._arguments.to,
            "results": self._arguments.wait,
            "ttl_ms": 0 if timeout_s is None else ceil(timeout_s * 1000),
        }
        self._channel.request(header, payload)
        if not self._arguments.wait:
            self._loop.after(_PATIENCE_S, lambda: self._overdue(id_))
        elif timeout_s is not None:
            self._loop.after(timeout_s + _PATIENCE_S, lambda: self._overdue(id_))

    def _fill(self, _: int) -> None:
        try:
            data = os.read(self._input_fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # the terminal has gone
            data = b""
        self._at_end = not data
        self._rest += data or (b"\n" if self._rest else b"")  # a last line may lack its end
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        if self._skipping and lines:
            del lines[0]
            self._skipping = False
        self._lines += [stripped for line in lines if (stripped := line.strip())]
        limit = self._max_payload
        if limit is not None and (self._skipping or len(self._rest) > limit + _READ_BYTES):
            if not self._skipping:  # it cannot become a command any more
                text = f"a line of standard input is longer than the {limit} bytes that the server allows"
                self._note(Exit.USAGE, f"not sent: {text}")
            self._skipping = True
            self._rest.clear()

    # what comes back

    def _replied(self, header: Header, payload: bytes) -> None:
        kind, id_ = header.get("is"), header.get("id")
        if kind == "seat":
            self._greeted(header)
            return
        if self._ending or not isinstance(id_, int) or id_ not in self._open:
            return
        command = self._open[id_]
        try:
            self._tell(kind, header, payload, command)
        except Unwritable as error:
            unwritten(error)
            self._finish(Exit.FAILED)
        if kind in {"done", "refused", "unsent", "lost"} or (kind == "accepted" and not self._arguments.wait):
            del self._open[id_]

    def _greeted(self, header: Header) -> None:
        limit = header.get("max_payload")
        if not isinstance(limit, int):
            self._note(Exit.NOT_CONNECTED, "the seat is not connected to its server now")
            self._finish(self._code)
            return
        self._max_payload, self._ready = limit, True

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
                if header["code"] == 1 and self._channel is not None and self._channel.own:
                    complain(_LONELY)
            case "unsent":
                self._note(Exit.NOT_CONNECTED, f"not sent, {shown(payload)}: {brief(command)}")
            case "lost":
                self._note(
                    Exit.NOT_CONNECTED, f"{shown(payload)}; what became of it is not known: {brief(command)}"
                )
            case _:
                pass

    def _done(self, header: Header, command: bytes) -> None:
        self._results.end(header)
        numbers = {end: header.get(end) for end in ("ok", "failed", "rejected", "expired", "left")}
        worst = {end: int(str(number)) for end, number in numbers.items() if end != "ok"}
        self._code = max(self._code, Exit.of(**worst))
        told = ", ".join(f"{number} {end}" for end, number in numbers.items() if number)
        complain(f"{told}: {brief(command)}")

    def _overdue(self, id_: int) -> None:
        if self._open.pop(id_, None) is not None:
            self._note(Exit.TIMED_OUT, "no answer came in time")

    def _gone(self, error: RankmuxError) -> None:
        for command in self._open.values():
            complain(f"what became of it is not known: {brief(command)}")
        self._note(Exit.NOT_CONNECTED, why(error))
        self._open.clear()
        self._finish(self._code)

    def _note(self, code: Exit, text: str) -> None:
        self._code = max(self._code, code)
        complain(text)

    def _finish(self, code: Exit) -> None:
        if self._ending:
            return
        self._ending = True
        if self._channel is None:
            self._loop.stop(code)
        else:
            self._channel.close(lambda: self._loop.stop(code))


def main(argv: Sequence[str] | None = None) -> int:
    """Send; the exit code."""
    arguments = parser().parse_args(argv)
    try:
        return _Sending(arguments, sys.stdin.fileno()).run()
    except LocalError as error:
        complain(str(error))
        return Exit.USAGE
    except ConnectionLost as error:
        complain(error.reason)
        return Exit.NOT_CONNECTED
