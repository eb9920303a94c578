"""Results on standard output: unchanged from a single executor, line by line after its rank from several, or JSON.

It knows replies as `seat/protocol` has them, and no connection.
"""

from __future__ import annotations

import json
import os
import sys

from ..seat.protocol import Header
from ..shared.streams import write_all
from ..shared.wording import shown

__all__ = ["Results"]

_LINE_MAX_BYTES = 64 * 1024  # a longer line is shown in pieces


class Results:
    """Writes results to standard output as they come; raises Unwritable."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._output_fd = sys.stdout.fileno()
        self._escapes = os.isatty(self._output_fd)  # so that nobody else writes on the terminal
        self._started: dict[tuple[object, int], tuple[bytes, bytes]] = {}
        """The front and the beginning of a line of output, by command and executor."""
        self._split: dict[tuple[object, int], bytes] = {}
        """The first bytes of a character, by command and executor; the rest comes with the next part."""

    def result(self, header: Header, payload: bytes, command: bytes, single: bool) -> None:
        """Write one result of `command`. `single`: there is only one executor."""
        status, rank, ticket = header["status"], header["rank"], header["ticket"]
        assert isinstance(rank, int)
        assert isinstance(ticket, int)
        key = header["id"], ticket
        if self._as_json:
            begun = self._split.pop(key, b"")
            if status in {"ok", "part"}:
                payload = begun + payload
            elif begun:  # the text of such an end is no output
                self._write(_json_line("part", rank, ticket, begun, command))
            cut = _unfinished(payload) if status == "part" else 0
            if cut:
                payload, self._split[key] = payload[:-cut], payload[-cut:]
            self._write(_json_line(status, rank, ticket, payload, command))
            return
        if status not in {"ok", "part"}:
            payload = b""  # the text of such an end goes to standard error
        if single and not self._escapes:
            self._write(payload)
            return
        front = b"" if single else b"%d: " % rank
        _, begun = self._started.pop(key, (front, b""))
        *lines, rest = (begun + payload).split(b"\n")
        if rest and (status != "part" or len(rest) > _LINE_MAX_BYTES):
            lines.append(rest)
        elif rest:
            self._started[key] = front, rest
        for line in lines:
            self._line(front, line)

    def end(self, header: Header) -> None:
        """A command is done: write the unfinished lines of executors that left or were too late."""
        for key in [key for key in self._started if key[0] == header["id"]]:
            self._line(*self._started.pop(key))

    def _line(self, front: bytes, line: bytes) -> None:
        text = shown(line).encode() if self._escapes else line
        self._write(front + text + b"\n")

    def _write(self, data: bytes) -> None:
        write_all(self._output_fd, data)


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


def _json_line(status: object, rank: int, ticket: int, payload: bytes, command: bytes) -> bytes:
    row: dict[str, object] = {
        "command": command.decode(errors="backslashreplace"),
        "rank": rank,
        "ticket": ticket,
        "status": status,
    }
    try:
        row["output"] = payload.decode()
    except UnicodeDecodeError:
        from binascii import b2a_base64

        row["output_base64"] = b2a_base64(payload, newline=False).decode()
    return json.dumps(row).encode() + b"\n"
