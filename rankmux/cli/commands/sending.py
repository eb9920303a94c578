"""One run of `send`: its commands on their way to the seat, their answers on the way back.

It knows channels and replies as `seat` has them, and no flags.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque

from ...errors import PayloadTooBig, RankmuxError
from ..seat.channel import HeldSeat, JoinedSeat
from ..seat.protocol import ENDS, TICKET_BYTES, Header
from ..shared.exit_codes import Exit
from ..shared.line_cutter import LineCutter
from ..shared.wording import brief, complain, counted, shown, why
from .results import Results

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    import argparse

    from ..shared.targets import Found

__all__ = ["Sending", "rows"]

_OPEN_MAX = 64  # commands under way; more lines wait in the pipe
_READ_BYTES = 64 * 1024
_ANSWER_S = 10.0  # for the server's answer to a command, and for a DONE that is overdue
_ALONE = (
    "nobody is below a seat that was joined just for this run, it is always the last in line: "
    "send through a held one (--seat or RANKMUX_SEAT; see hold, work and wait)"
)
_FAILURES = {
    "failed": "failed",
    "rejected": "rejected it",
    "expired": "did not answer in time",
    "left": "left before it answered",
    "cancelled": "was told to stop",
}


def rows(members: list[dict[str, object]]) -> list[tuple[int, int, str]]:
    """Rank, ticket and name of each member of a list."""
    return [(int(str(row["rank"])), int(str(row["ticket"])), str(row["name"])) for row in members]


class _Command:
    """A command under way. `single`: it asks for one member."""

    def __init__(self, payload: bytes, deadline_s: float | None, single: bool) -> None:
        self.payload = payload
        self.deadline_s = deadline_s
        self.single = single


class Sending:
    """Sends through `channel`, which takes payloads of at most `limit` bytes."""

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
        self._open: dict[int, _Command] = {}
        self._last_id = 0
        self._code = Exit.OK
        self._results = Results(arguments.json)

    def run(self) -> int:
        """Send all and wait for the answers; the exit code. Raises Unwritable."""
        try:
            while True:
                self._send_lines()
                if self._at_end and not self._lines and not self._open:
                    return self._code
                self._turn()
        except RankmuxError as error:
            for command in self._open.values():
                complain(f"the outcome is not known: {brief(command.payload)}")
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
        if self._channel.fileno() in ready or self._channel.waiting or self._channel.look_s is not None:
            for header, payload in self._channel.receive():
                self._replied(header, payload)
        if self._input_fd in ready:
            self._fill()
        now_s = time.monotonic()
        for id_, command in list(self._open.items()):
            if command.deadline_s is not None and command.deadline_s <= now_s:
                del self._open[id_]
                self._note(Exit.TIMED_OUT, "no answer came in time")

    def _patience_ms(self) -> float | None:
        if self._channel.waiting:
            return 0.0
        deadlines = (command.deadline_s for command in self._open.values())
        waits = [deadline_s - time.monotonic() for deadline_s in deadlines if deadline_s is not None]
        if self._channel.look_s is not None:
            waits.append(self._channel.look_s)
        return max(0.0, min(waits)) * 1000 + 1 if waits else None

    # commands

    def _send_lines(self) -> None:
        """Send what may be sent now; those that are sent together are looked up together."""
        found: Found | None = None
        target = self._arguments.to
        while self._lines and len(self._open) < _OPEN_MAX:
            payload = self._lines.popleft()
            if target.keyword is None and found is None:
                found = target.find(rows(self._channel.who()), self._channel.ticket)
                for text in found.unknown:
                    complain(f"nobody is {text!r}")
            if found is not None and not found.below:
                self._note(Exit.REFUSED, f"not sent, {target.nobody}: {brief(payload)}")
                if self._channel.joined:
                    complain(_ALONE)
            else:
                self._send(payload, found)

    def _send(self, payload: bytes, found: Found | None) -> None:
        target, tickets = self._arguments.to, () if found is None else found.tickets
        size = len(payload) + TICKET_BYTES * len(tickets)
        if size > self._limit:
            self._note(Exit.USAGE, f"not sent: {PayloadTooBig(size, self._limit, size - len(payload))}")
            return
        self._last_id += 1
        wait, timeout_s = self._arguments.wait, self._arguments.timeout
        deadline_s = time.monotonic() + _ANSWER_S + (timeout_s or 0.0) if timeout_s or not wait else None
        single = target.keyword in {"next", "least"} if found is None else found.single
        self._open[self._last_id] = _Command(payload, deadline_s, single)
        self._channel.command(
            self._last_id, target.keyword or tickets, payload, results=wait, timeout_s=timeout_s
        )

    def _fill(self) -> None:
        try:
            data = os.read(self._input_fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # the terminal has gone
            data = b""
        self._at_end = not data
        self._lines += filter(None, map(bytes.strip, self._cutter.feed(data)))

    # replies

    def _replied(self, header: Header, payload: bytes) -> None:
        kind, id_ = header.get("is"), header.get("id")
        if not isinstance(id_, int) or id_ not in self._open:
            return
        self._tell(kind, header, payload, self._open[id_])
        if kind in {"done", "refused", "unsent", "lost"} or (kind == "accepted" and not self._arguments.wait):
            del self._open[id_]

    def _tell(self, kind: object, header: Header, payload: bytes, command: _Command) -> None:
        text = brief(command.payload)
        match kind:
            case "result":
                self._results.result(header, payload, command.payload, command.single)
                if (status := str(header["status"])) in _FAILURES:
                    reason = shown(payload.removesuffix(b"\n"))
                    complain(f"rank {header['rank']} {_FAILURES[status]}" + (f": {reason}" if reason else ""))
            case "accepted":
                if not self._arguments.wait:
                    complain(f"sent to {counted(header['executors'])}: {text}")
            case "done":
                self._done(header, text)
            case "refused":
                self._note(Exit.REFUSED, f"refused, {shown(payload)}: {text}")
                if header["code"] == 1 and self._channel.joined:
                    complain(_ALONE)
            case "unsent":
                self._note(Exit.NOT_CONNECTED, f"not sent, {shown(payload)}: {text}")
            case "lost":
                self._note(Exit.NOT_CONNECTED, f"{shown(payload)}; the outcome is not known: {text}")
            case _:
                pass

    def _done(self, header: Header, text: str) -> None:
        self._results.end(header)
        numbers = {end: int(str(header.get(end, 0))) for end in ENDS}
        worst = {end: number for end, number in numbers.items() if end != "ok"}
        self._code = max(self._code, Exit.of(**worst))
        counts = ", ".join(f"{number} {end}" for end, number in numbers.items() if number)
        complain(f"{counts or 'nobody'}: {text}")

    def _note(self, code: Exit, text: str) -> None:
        self._code = max(self._code, code)
        complain(text)
