"""One run of `send`: its commands on their way to the seat, their answers on the way back.

It knows channels and replies as `seat` has them, and no flags.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque

from ...errors import PayloadTooBig, RankmuxError
from ...system.printable import escaped
from ..seat.channel import HeldSeat, JoinedSeat
from ..seat.protocol import ENDS, TICKET_BYTES, Header
from ..shared.exit_codes import Exit
from ..shared.line_cutter import LineCutter
from ..shared.signals import Interrupts
from ..shared.targets import Found
from ..shared.wording import brief, complain, counted, shown, why
from .batches import Batches
from .results import FAILURES, Command, Results

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    import argparse

__all__ = ["Sending", "rows"]

_OPEN_MAX = 64  # commands under way; more lines wait in the pipe
_READ_BYTES = 64 * 1024
_ANSWER_S = 10.0  # for the server's answer to a command, and for a DONE that is overdue
_CANCEL_S = 2.0  # for the DONE of commands that were cancelled
_ALONE = (
    "nobody is below a seat that was joined just for this run, it is always the last in line: "
    "send through a held one (--seat or RANKMUX_SEAT; see hold, work and wait)"
)


def rows(members: list[dict[str, object]]) -> list[tuple[int, int, str]]:
    """Rank, ticket and name of each member of a list."""
    return [(int(str(row["rank"])), int(str(row["ticket"])), str(row["name"])) for row in members]


class Sending:
    """Sends through `channel`, which takes payloads of at most `limit` bytes."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        channel: HeldSeat | JoinedSeat,
        limit: int,
        input_fd: int,
        interrupts: Interrupts,
    ) -> None:
        self._arguments = arguments
        self._channel = channel
        self._limit = limit
        self._input_fd = input_fd
        self._interrupts = interrupts
        self._at_end = arguments.command != ["-"]
        self._cutter = LineCutter(limit)
        self._lines: deque[bytes] = deque()
        if self._at_end:
            self._lines.append(" ".join(arguments.command).encode(errors="surrogateescape"))
        self._open: dict[int, Command] = {}
        self._last_id = 0
        self._code = Exit.OK
        self._results = Results(interrupts, as_json=arguments.json, fold=arguments.fold)
        self._names: dict[int, str] = {}
        self._batches: Batches | None = None
        self._batched = b""

    def run(self) -> int:
        """Send all and wait for the answers; the exit code. Raises Unwritable.

        While it waits for results, the first KeyboardInterrupt of `interrupts` cancels what is under way.
        """
        try:
            self._run()
            self._tell_rest()
        except RankmuxError as error:
            for id_, command in self._open.items():
                self._results.failed(id_, "lost", why(error), command)
                complain(f"the outcome is not known: {brief(command.payload)}")
            self._note(Exit.NOT_CONNECTED, why(error))
        except TimeoutError:
            self._note(Exit.TIMED_OUT, "no answer came in time")
        return self._code

    def _run(self) -> None:
        try:
            while True:
                self._send_lines()
                if self._at_end and not self._lines and not self._open:
                    return
                self._turn()
        except KeyboardInterrupt:
            if not self._arguments.wait or not self._open:
                raise
            self._cancel()

    def _cancel(self) -> None:
        """Cancel what is under way, wait for what comes of it, and say what has not come."""
        until_s = time.monotonic() + _CANCEL_S
        complain(f"cancelling {len(self._open)} commands" if len(self._open) > 1 else "cancelling")
        self._code = Exit.INTERRUPTED
        self._at_end = True
        self._lines.clear()
        # The newest first: the end of an older one must not let a newer one begin that waits behind it.
        for id_, command in reversed(self._open.items()):
            command.deadline_s = None if command.deadline_s is None else max(command.deadline_s, until_s)
            self._channel.cancel(id_)
        while self._open and (left_s := until_s - time.monotonic()) > 0:
            self._turn(left_s)
        for id_, command in self._open.items():
            text = "no answer came to the cancel"
            self._results.failed(id_, "lost", text, command)
            complain(f"{text}; the outcome is not known: {brief(command.payload)}")

    def _turn(self, most_s: float | None = None) -> None:
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        if not self._at_end and not self._lines:
            poll.register(self._input_fd, select.POLLIN)
        with_limit = [wait for wait in (self._patience_ms(), most_s and most_s * 1000) if wait is not None]
        ready = dict(self._interrupts.during(poll.poll, min(with_limit, default=None)))
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
        if self._arguments.batch is not None:
            self._send_batch(self._arguments.batch)
            return
        found: Found | None = None
        target = self._arguments.to
        while self._lines and len(self._open) < _OPEN_MAX:
            payload = self._lines.popleft()
            if target.keyword is None and found is None:
                found = target.find(self._listed(), self._channel.ticket)
                for text in found.unknown:
                    self._passed_over(f"nobody is {text!r}")
            elif self._arguments.wait and not self._names and target.keyword == "all":
                self._listed()
            if found is not None and not found.below:
                self._nobody(payload)
            else:
                self._send(payload, found)

    def _nobody(self, payload: bytes) -> None:
        nobody = self._arguments.to.nobody
        self._note(Exit.REFUSED, f"not sent, {nobody}: {brief(payload)}")
        self._results.failed(None, "refused", nobody, Command(payload, None, False))
        if self._channel.joined:
            complain(_ALONE)

    def _send_batch(self, size: int) -> None:
        """Send to the next members of the list when those before have ended."""
        if self._open:
            return
        if self._batches is None:
            self._batched = self._lines.popleft()
            members = self._arguments.to.below(self._listed(), self._channel.ticket)
            if not members:
                self._nobody(self._batched)
            self._batches = Batches(members, size, self._arguments.max_failures)
        if tickets := self._batches.begin():
            self._send(self._batched, Found(tickets, len(tickets), [], False))

    def _tell_rest(self) -> None:
        """Say which members of the list have not been tried."""
        rest = [] if self._batches is None else self._batches.rest
        for rank, ticket, name in rest:
            self._results.not_tried(Command(self._batched, None, False), rank, ticket, name)
            complain(f"not tried: rank {rank}" + (f" ({escaped(name)})" if name else ""))

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
        self._open[self._last_id] = Command(payload, deadline_s, single)
        self._channel.command(
            self._last_id,
            tickets if found is not None else target.keyword or "all",
            payload,
            results=wait,
            timeout_s=timeout_s,
        )

    def _listed(self) -> list[tuple[int, int, str]]:
        members = rows(self._channel.who())
        self._names.update({ticket: name for _, ticket, name in members})
        return members

    def _name(self, ticket: int) -> str:
        """The name of an executor; empty where it has none, or was gone before it could be looked up."""
        if ticket not in self._names:
            self._listed()
        return self._names.setdefault(ticket, "")

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

    def _tell(self, kind: object, header: Header, payload: bytes, command: Command) -> None:
        text = brief(command.payload)
        match kind:
            case "result":
                self._result(header, payload, command)
            case "accepted":
                command.accepted = header
                if not self._arguments.wait:
                    complain(f"sent to {counted(header['executors'])}: {text}")
                    self._results.sent(header["id"], command)
                if rejected := header.get("rejected"):
                    self._passed_over(f"not for {counted(rejected)} above you: {text}")
                if absent := header.get("absent"):
                    self._passed_over(f"passed over, absent: {counted(absent)}: {text}")
            case "done":
                self._done(header, command)
            case "refused":
                self._failed(header, "refused", f"refused, {shown(payload)}: {text}", payload, command)
                if header["code"] == 1 and self._channel.joined:
                    complain(_ALONE)
            case "unsent":
                self._failed(header, "unsent", f"not sent, {shown(payload)}: {text}", payload, command)
            case "lost":
                reason = f"{shown(payload)}; the outcome is not known: {text}"
                self._failed(header, "lost", reason, payload, command)
            case _:
                pass

    def _result(self, header: Header, payload: bytes, command: Command) -> None:
        status, name = str(header["status"]), ""
        if self._arguments.json or not command.single or status in FAILURES:
            name = self._name(int(str(header["ticket"])))
        self._results.result(header, payload, command, name)
        if status in FAILURES and not self._arguments.fold:
            whose = f"rank {header['rank']}" + (f" ({escaped(name)})" if name else "")
            reason = shown(payload.removesuffix(b"\n"))
            complain(f"{whose} {FAILURES[status]}" + (f": {reason}" if reason else ""))

    def _done(self, header: Header, command: Command) -> None:
        self._results.end(header, command)
        numbers = {end: int(str(header.get(end, 0))) for end in ENDS}
        worst = {end: number for end, number in numbers.items() if end != "ok"}
        self._code = max(self._code, Exit.of(**worst))
        if self._batches is not None:
            self._batches.ended(numbers["ok"])
        counts = ", ".join(f"{number} {end}" for end, number in numbers.items() if number)
        complain(f"{counts or 'nobody'}: {brief(command.payload)}")

    def _failed(self, header: Header, status: str, text: str, payload: bytes, command: Command) -> None:
        code = Exit.REFUSED if status == "refused" else Exit.NOT_CONNECTED
        self._results.failed(header["id"], status, payload.decode(errors="backslashreplace"), command)
        self._note(code, text)

    def _passed_over(self, text: str) -> None:
        """A member that the target names, and that does not get it."""
        complain(text)
        if self._arguments.strict:
            self._code = max(self._code, Exit.REFUSED)

    def _note(self, code: Exit, text: str) -> None:
        self._code = max(self._code, code)
        complain(text)
