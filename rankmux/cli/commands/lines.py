"""Plain lines, without a prompt: each line of standard input is a command, each line of standard output an event.

It is sender and executor at once, and executes a command by printing it. At the end of its input it waits for the
answers to what it sent, and leaves.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from typing import TextIO

from ...aio import Counts, Promoted, Receipt, ReceivedCommand, RoutedResult, Welcomed
from ...core.client.events import ExecuteRejected
from ...errors import (
    ArgumentError,
    CommandRefused,
    ConfigError,
    ConnectionLost,
    LocalError,
    RankmuxError,
)
from ...system.printable import escaped
from ..seat.seat import Incident, Lost, Seat
from ..seat.socket import SeatSocket, offered
from ..shared import event_loop
from ..shared.event_lines import counts_text, parse_line, promotion_text, rejection_text, result_text
from ..shared.exit_codes import Exit
from ..shared.line_cutter import LineCutter
from ..shared.signals import ending
from ..shared.streams import Unwritable, put
from ..shared.targets import Target
from ..shared.wording import complain, counted, shown, unwritten, why

__all__ = ["Lines", "run"]

_OPEN_MAX = 64  # commands under way; more lines wait in the pipe, and a server allows 1,024
_READ_BYTES = 64 * 1024
_HINT = "A line is a command for all below you; @next, @2 or @NAME in front of it narrows that down. Ctrl-D leaves."


class Lines:
    """One run of the plain client."""

    def __init__(self, arguments: argparse.Namespace, input_fd: int, output: TextIO) -> None:
        self._seat = Seat(arguments, self._execute, reconnect=False)
        self._path: str | None = arguments.seat
        self._input_fd = input_fd
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._offer: SeatSocket | None = None
        self._joined = False
        self._places = asyncio.Semaphore(_OPEN_MAX)
        self._open: set[asyncio.Task[None]] = set()
        self._receipts: dict[
            Receipt | None, str
        ] = {}  # of open commands, with the line that says that one is done
        self._reading: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._writing = False
        self._silent = False
        self._code = Exit.OK

    async def run(self) -> int:
        """Run until the input has ended and is answered, or the connection has; the exit code."""
        for number in ending():
            signal.signal(number, self._interrupt)
        try:
            async for incident in self._seat.incidents():
                await self._happened(incident)
            if self._open:
                await asyncio.wait(self._open)
            if self._leaving is not None:
                await self._leaving
        finally:
            if self._reading is not None:
                self._reading.cancel()
            if self._offer is not None:
                self._offer.close()
        return self._code

    def _interrupt(self, *_: object) -> None:
        """Leave, at a signal. asyncio's own handlers would have to wait for a reader of standard output."""
        if self._writing:
            raise KeyboardInterrupt
        self._loop.call_soon_threadsafe(self._stop, Exit.INTERRUPTED)

    def _stop(self, code: Exit) -> None:
        self._silent = True
        self._code = code
        self._leave()

    def _leave(self) -> None:
        if self._leaving is None:
            self._leaving = self._loop.create_task(self._seat.leave())

    def _note(self, code: Exit) -> None:
        if not self._silent:
            self._code = max(self._code, code)

    def _say(self, *lines: str) -> None:
        if self._silent:
            return
        self._writing = True
        try:
            put(self._output, "".join(f"{escaped(line)}\n" for line in lines))
        except KeyboardInterrupt:
            self._stop(Exit.INTERRUPTED)
        except Unwritable as error:
            unwritten(error)
            self._stop(Exit.FAILED)
        finally:
            self._writing = False

    # from standard input

    async def _send_lines(self) -> None:
        cutter = LineCutter(self._seat.client.max_payload or 0)
        while data := await self._read():
            for line in cutter.feed(data):
                await self._begin(line)
        for line in cutter.feed(b""):
            await self._begin(line)
        if self._open:
            await asyncio.wait(self._open)
        self._leave()

    async def _read(self) -> bytes:
        readable = asyncio.Event()
        try:
            self._loop.add_reader(self._input_fd, readable.set)
        except PermissionError:  # a plain file, which epoll does not take; it is always readable
            await asyncio.sleep(0)
        else:
            try:
                await readable.wait()
            finally:
                self._loop.remove_reader(self._input_fd)
        try:
            return os.read(self._input_fd, _READ_BYTES)
        except BlockingIOError:
            return await self._read()
        except OSError:  # the terminal has gone
            return b""

    async def _begin(self, line: bytes) -> None:
        try:
            parsed = parse_line(line)
        except ArgumentError as error:
            self._say(f"Not understood: {error}")
            self._note(Exit.USAGE)
            return
        if parsed is not None:
            await self._places.acquire()
            task = self._loop.create_task(self._command(*parsed))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            task.add_done_callback(lambda _: self._places.release())

    async def _command(self, to: Target, payload: bytes) -> None:
        text = shown(payload)
        receipt: Receipt | None = None
        async for answer in self._seat.answers(payload, to, results=True):
            match answer:
                case Receipt():
                    receipt = answer
                    self._receipts[receipt] = ""
                    self._say(f"Sent to {counted(answer.executors)}: {text}")
                    if answer.rejected:
                        self._say(f"Rejected for {counted(answer.rejected)} above you: {text}")
                    if answer.absent:
                        self._say(f"Passed over, absent: {counted(answer.absent)}: {text}")
                case RoutedResult():
                    if line := result_text(answer):
                        self._say(line)
                case Counts():
                    assert receipt is not None
                    self._receipts[receipt] = f"Done, {counts_text(answer)}: {text}"
                    self._say_done()
                    self._note(Exit.of_counts(answer))
                case CommandRefused():
                    self._say(f"Refused, {shown(answer.text.encode())}: {text}")
                    self._note(Exit.REFUSED)
                case LocalError():
                    self._say(f"Not sent: {answer}")
                    self._note(Exit.USAGE)
                case _:
                    self._receipts.pop(receipt, None)
                    self._say(f"The outcome is not known: {text}")

    def _say_done(self) -> None:
        """Commands that are done, in the order in which they were sent; the task of an earlier one may run later."""
        for receipt, line in list(self._receipts.items()):
            if line:
                del self._receipts[receipt]
                self._say(line)
            elif receipt is not None and receipt.counts is not None:
                return

    # from the server

    async def _execute(self, command: ReceivedCommand) -> None:
        self._say(
            f"Received from rank {command.sender_rank}: {shown(command.payload)}",
            f"Executed: {shown(command.payload)}",
        )

    async def _happened(self, incident: Incident) -> None:
        match incident:
            case Welcomed():
                self._say(f"Assigned rank: {incident.rank}")
                if self._path is not None:
                    await self._offer_seat(self._path)
                if os.isatty(self._input_fd):
                    self._say(_HINT)
                self._joined = True
                self._seat.execute()
                self._reading = self._loop.create_task(self._send_lines())
            case Promoted():
                self._say(promotion_text(incident))
            case ExecuteRejected():
                self._say(rejection_text(incident))
            case Lost(error=error):
                self._note(Exit.without_connection(error))
                complain(self._reason(error))

    async def _offer_seat(self, path: str) -> None:
        try:
            self._offer = await offered(path, self._seat)
        except ConfigError as error:
            complain(str(error))
            self._stop(Exit.USAGE)
        else:
            self._say(f"Seat: {self._offer.path}")

    def _reason(self, error: RankmuxError) -> str:
        if isinstance(error, ConnectionLost) and self._joined:
            return f"the connection was lost: {error.reason}"
        return why(error)


def run(arguments: argparse.Namespace) -> int:
    """Run the plain client; the exit code."""
    if arguments.reconnect:
        complain("--reconnect needs the prompt, not plain lines; in scripts, use it with hold or work")
        return Exit.USAGE

    async def lines() -> int:
        return await Lines(arguments, sys.stdin.fileno(), sys.stdout).run()

    try:
        return event_loop.run(lines())
    except LocalError as error:
        complain(why(error))
        return Exit.USAGE
