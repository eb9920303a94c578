"""Results on standard output: unchanged from a single executor, line by line behind its rank from several, or JSON.

It knows replies as `seat/protocol` has them, and no connection.
"""

from __future__ import annotations

import json
import os
import sys
from signal import Signals

from ..seat.protocol import ENDS, Header
from ..shared.signals import Interrupts
from ..shared.streams import write_all
from ..shared.wording import shown

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from ..shared.folding import Gathering

__all__ = ["FAILURES", "Command", "Results"]

FAILURES = {
    "failed": "failed",
    "rejected": "rejected it",
    "expired": "did not answer in time",
    "left": "left before it answered",
    "cancelled": "was told to stop",
}
"""The ends of an executor that did not succeed, in words."""
_LINE_MAX_BYTES = 64 * 1024  # a longer line is shown in pieces


class Command:
    """A command under way, and the output of its executors that is not written yet.

    `single`: it asks for one member. `accepted` is the server's answer, once it has come.
    """

    def __init__(self, payload: bytes, deadline_s: float | None, single: bool) -> None:
        self.payload = payload
        self.deadline_s = deadline_s
        self.single = single
        self.accepted: Header = {}
        self.begun: dict[int, tuple[bytes, bytes]] = {}
        """The front and the beginning of a line of output, by executor."""
        self.split: dict[int, bytes] = {}
        """The first bytes of a character, by executor; the rest comes with the next part."""
        self.gathering: Gathering | None = None


class Results:
    """Writes results to standard output; raises Unwritable. With `fold`, equal ones of a command once, at its end."""

    def __init__(self, interrupts: Interrupts, *, as_json: bool, fold: bool) -> None:
        self._interrupts = interrupts
        self._as_json = as_json
        self._fold = fold
        self._output_fd = sys.stdout.fileno()
        self._escapes = os.isatty(self._output_fd)  # so that nobody else writes on the terminal

    def result(self, header: Header, payload: bytes, command: Command, name: str) -> None:
        """Write one result of `command`, from the member `name`."""
        status, rank, ticket = header["status"], header["rank"], header["ticket"]
        assert isinstance(rank, int)
        assert isinstance(ticket, int)
        if self._as_json:
            self._json_result(header, payload, command, name)
        elif self._fold:
            _gather(command, rank, ticket, str(status), payload, name)
        else:
            if status not in {"ok", "part"}:
                payload = b""  # the text of such an end goes to standard error
            if command.single and not self._escapes:
                self._write(payload)
            else:
                self._lines(command, ticket, _front(command, rank, name), payload, ended=status != "part")

    def end(self, header: Header, command: Command) -> None:
        """A command is done: write the unfinished lines of executors that left or were too late, or what is folded."""
        self.flush(command)
        if self._as_json:
            counts = {end: header.get(end, 0) for end in ENDS}
            self._write(_row(command, "done", header["id"], counts=counts))

    def flush(self, command: Command) -> None:
        """Write what is held back of its output."""
        for front, line in command.begun.values():
            self._line(front, line)
        command.begun.clear()
        if command.gathering is not None:
            from ..shared.group_lines import group_lines

            for group in command.gathering.take(all_of_it=True):
                for pieces in group_lines(group):
                    text = "".join(piece for _, piece in pieces)
                    self._write(f"{text}\n".encode(errors="backslashreplace"))

    def sent(self, id_: object, command: Command) -> None:
        """A command without results was dispatched."""
        if self._as_json:
            self._write(_row(command, "sent", id_))

    def failed(self, id_: object, status: str, error: str, command: Command) -> None:
        """A command ended without DONE: `status` is refused, unsent or lost."""
        self.flush(command)
        if self._as_json:
            self._write(_row(command, status, id_, error=error))

    def not_tried(self, command: Command, rank: int, ticket: int, name: str) -> None:
        """A member of the list of `--batch` did not get the command, as too many failed before."""
        if self._as_json:
            self._write(_row(command, "not_tried", None, rank=rank, ticket=ticket, name=name))

    def _json_result(self, header: Header, payload: bytes, command: Command, name: str) -> None:
        status, ticket = str(header["status"]), int(str(header["ticket"]))
        about = {"rank": header["rank"], "ticket": ticket, "name": name}
        begun = command.split.pop(ticket, b"")
        if status not in FAILURES:
            payload = begun + payload
            cut = _unfinished(payload) if status == "part" else 0
            if cut:
                payload, command.split[ticket] = payload[:-cut], payload[-cut:]
            ended = {} if status == "part" else {"exit_code": 0, "error": None}
            self._write(_row(command, status, header["id"], **about, **_output(payload), **ended))
            return
        if begun:  # the text of such an end is no output
            self._write(_row(command, "part", header["id"], **about, **_output(begun)))
        error = payload.removesuffix(b"\n").decode(errors="backslashreplace") or FAILURES[status]
        code = _exit_code(error) if status == "failed" else None
        self._write(_row(command, status, header["id"], **about, exit_code=code, error=error))

    def _lines(self, command: Command, ticket: int, front: bytes, payload: bytes, *, ended: bool) -> None:
        _, begun = command.begun.pop(ticket, (front, b""))
        *lines, rest = (begun + payload).split(b"\n")
        if rest and (ended or len(rest) > _LINE_MAX_BYTES):
            lines.append(rest)
        elif rest:
            command.begun[ticket] = front, rest
        for line in lines:
            self._line(front, line)

    def _line(self, front: bytes, line: bytes) -> None:
        text = shown(line).encode() if self._escapes else line
        self._write(front + text + b"\n")

    def _write(self, data: bytes) -> None:
        self._interrupts.during(write_all, self._output_fd, data)  # its reader may have stopped


def _front(command: Command, rank: int, name: str) -> bytes:
    if command.single:
        return b""
    return f"{rank} {shown(name.encode())}: ".encode() if name else b"%d: " % rank


def _gather(command: Command, rank: int, ticket: int, status: str, payload: bytes, name: str) -> None:
    from ...core.client.results import RoutedResult
    from ...core.wire.codes import Status
    from ..shared.folding import Gathering

    if command.gathering is None:
        command.gathering = Gathering("")
    command.gathering.add(RoutedResult(rank, ticket, Status[status.upper()], payload), name)


def _unfinished(payload: bytes) -> int:
    """The number of bytes at the end that may begin a UTF-8 character: a part can end anywhere."""
    for count in range(1, min(3, len(payload)) + 1):
        lead = payload[-count]
        if 0xC2 <= lead <= 0xF4:
            length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return count if count < length else 0
        if not 0x80 <= lead < 0xC0:
            break
    return 0


def _exit_code(error: str) -> int | None:
    """The exit code that `work` gives as the reason of a failure, as a shell has it; None for other reasons."""
    reason = error.partition(";")[0]
    number = reason.removeprefix("exit code ")
    if number != reason and number.isascii() and number.isdecimal() and len(number) < 4:
        return int(number)
    signal = reason.removeprefix("ended by ")
    return 128 + Signals[signal] if signal != reason and signal in Signals.__members__ else None


def _output(payload: bytes) -> dict[str, str]:
    try:
        return {"output": payload.decode()}
    except UnicodeDecodeError:
        from binascii import b2a_base64

        return {"output_base64": b2a_base64(payload, newline=False).decode()}


def _row(command: Command, status: str, id_: object, **facts: object) -> bytes:
    row: dict[str, object] = {
        "command": command.payload.decode(errors="backslashreplace"),
        "id": id_,
        "seq": command.accepted.get("seq"),
        "status": status,
        **facts,
    }
    if status in {"done", "sent"}:
        row |= {field: command.accepted.get(field) for field in ("executors", "rejected", "absent")}
    return json.dumps(row).encode() + b"\n"
