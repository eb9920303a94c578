"""The plain form of rankmux-client: a command a line from standard input, a line on standard output for what happens.

It is sender and executor at once, in one loop over two descriptors. It executes a command by printing it. At the end of
its input it waits for the answers to what it sent, and leaves.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from ...client.link import StreamLink
from ...core.client.arguments import target_of
from ...core.client.events import (
    ClientEvent,
    CommandAccepted,
    CommandDone,
    Ended,
    ExecuteReceived,
    RefusalReceived,
    ResultRouted,
    ServerErrorReceived,
    Welcomed,
)
from ...core.client.session import ClientSession, ClientState
from ...core.wire.codes import Status
from ...errors import (
    ArgumentError,
    ConfigError,
    ConnectionLost,
    PayloadTooBig,
    RankmuxError,
    ServerError,
    StateError,
)
from ..seat.answers import Commands
from ..seat.loop import READABLE, WRITABLE
from ..seat.requests import Requests
from ..seat.socket import SeatSocket
from ..shared.client_words import parse_line, shown, tell
from ..shared.connection_flags import Exit
from ..shared.streams import Unwritable, put
from ..shared.wording import complain, unwritten, why

__all__ = ["Lines", "interrupt_on_signals"]

_WAITING_MAX = 64  # commands under way; more lines wait in the pipe, and a server allows 1,024
_UNSENT_MAX_BYTES = 256 * 1024
_READ_BYTES = 64 * 1024
_GOODBYE_S = 2.0  # a server takes a second at most to send what it still owes (section 3.4)
_HINT = "A line is a command for all below you; @next, @least or @RANK in front says for whom. Ctrl-D leaves."


class Lines:
    """One run of the plain client over `link`; `timeout_s` bounds the wait for its WELCOME.

    With `seat`, others may send through it at that path, from the WELCOME on.
    """

    def __init__(
        self,
        link: StreamLink,
        input_fd: int,
        output: TextIO,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        seat: str | None = None,
    ) -> None:
        self._link = link
        self._seat = seat
        self._offer: SeatSocket | None = None
        self._commands = Commands()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._input_fd = input_fd
        self._output = output
        self._clock = clock
        self._deadline_s: float | None = clock() + timeout_s
        self._timeout_s = timeout_s
        self._poller = getattr(
            selectors, "PollSelector", selectors.SelectSelector
        )()  # epoll takes no plain files
        self._pending = bytearray()
        self._skipping = False
        self._at_end = False
        self._sent: dict[int, str] = {}
        self._code = Exit.OK

    def run(self) -> int:
        """Run until the input has ended and is answered, or the connection has; the exit code."""
        with self._poller:
            try:
                while not self._link.ended:
                    self._turn()
            except KeyboardInterrupt:
                self._code = Exit.INTERRUPTED
                self._leave_now()
            except Unwritable as error:
                unwritten(error)
                self._code = Exit.FAILED
                self._leave_now()
            finally:
                if self._offer is not None:
                    self._offer.close()
        self._link.close()
        return self._code

    # the loop

    def _turn(self) -> None:
        link = self._link
        self._watch(link, selectors.EVENT_READ | (selectors.EVENT_WRITE * link.wants_write))
        self._watch(self._input_fd, selectors.EVENT_READ if self._wants_input() else 0)
        waits = [0.0] if link.wants_read_now else []
        deadline_in_s = None if self._deadline_s is None else self._deadline_s - self._clock()
        waits += [max(0.0, wait_s) for wait_s in (link.patience_s(), deadline_in_s) if wait_s is not None]
        ready = {key.fileobj: mask for key, mask in self._poller.select(min(waits, default=None))}
        link.run(link.wants_read_now or bool(ready.get(link, 0) & selectors.EVENT_READ))
        self._tell_all()
        for fd, callback in list(self._callbacks.items()):
            mask = ready.get(fd, 0)
            if mask and fd in self._callbacks:  # an earlier callback may have closed it
                readable, writable = mask & selectors.EVENT_READ, mask & selectors.EVENT_WRITE
                callback((READABLE if readable else 0) | (WRITABLE if writable else 0))
        if self._input_fd in ready and self._wants_input():
            self._fill()
        self._send_lines()
        if self._at_end and not self._pending and not self._sent and link.session.state is ClientState.JOINED:
            link.session.send_leave()
            self._deadline_s = self._clock() + _GOODBYE_S
        link.flush()
        self._tell_all()
        if self._deadline_s is not None and self._clock() >= self._deadline_s and not link.ended:
            self._overdue()

    def _watch(self, fileobj: int | StreamLink, interest: int) -> None:
        known = fileobj in self._poller.get_map()
        if interest and known:
            self._poller.modify(fileobj, interest)
        elif interest:
            self._poller.register(fileobj, interest)
        elif known:
            self._poller.unregister(fileobj)

    def _watch_sender(self, fd: int, interest: int, callback: Callable[[int], None]) -> None:
        events = selectors.EVENT_READ if interest & READABLE else 0
        self._watch(fd, events | (selectors.EVENT_WRITE if interest & WRITABLE else 0))
        self._callbacks[fd] = callback
        if not interest:
            del self._callbacks[fd]

    def _joined(self) -> ClientSession | None:
        session = self._link.session
        return session if session.state is ClientState.JOINED else None

    def _open_seat(self) -> None:
        try:
            self._offer = SeatSocket(
                self._seat, lambda reply: Requests(self._commands, self._joined, reply), self._watch_sender
            )
        except ConfigError as error:
            complain(str(error))
            self._note(Exit.USAGE)
            self._leave_now()
        else:
            self._say(f"Seat: {self._offer.path}")

    def _overdue(self) -> None:
        awaiting = self._link.session.state is ClientState.AWAITING
        self._link.close(f"the server was silent for {self._timeout_s:g} s" if awaiting else "")
        self._tell_all()

    def _leave_now(self) -> None:
        with suppress(StateError):
            self._link.session.send_leave()
        self._link.flush()
        self._link.close()

    # from standard input

    def _may_send(self) -> bool:
        session = self._link.session
        return (
            session.state is ClientState.JOINED
            and len(self._sent) < _WAITING_MAX
            and session.output_size < _UNSENT_MAX_BYTES
        )

    def _wants_input(self) -> bool:
        return self._may_send() and not self._at_end and b"\n" not in self._pending

    def _fill(self) -> None:
        try:
            data = os.read(self._input_fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # the terminal has gone
            data = b""
        self._at_end = not data
        self._pending += data or (b"\n" if self._pending else b"")  # a last line may lack its end
        limit = self._link.session.max_payload or 0
        if self._skipping and b"\n" in self._pending:
            del self._pending[: self._pending.index(b"\n") + 1]
            self._skipping = False
        if b"\n" not in self._pending and (self._skipping or len(self._pending) > limit + _READ_BYTES):
            if not self._skipping:  # it cannot become a command any more
                self._complain(f"Not sent: {PayloadTooBig(len(self._pending), limit)}")
            self._pending.clear()
            self._skipping = True

    def _send_lines(self) -> None:
        while self._may_send() and (end := self._pending.find(b"\n")) >= 0:
            line = bytes(self._pending[:end])
            del self._pending[: end + 1]
            self._command(line)

    def _command(self, line: bytes) -> None:
        try:
            parsed = parse_line(line)
            if parsed is None:
                return
            to, payload = parsed
            id_ = self._link.session.send_command(payload, *target_of(to), results=True)
        except ArgumentError as error:
            self._complain(f"Not understood: {error}")
        except (PayloadTooBig, StateError) as error:
            self._complain(f"Not sent: {error}")
        else:
            self._sent[id_] = shown(payload)

    def _complain(self, text: str) -> None:
        self._code = max(self._code, Exit.USAGE)
        self._say(text)

    # from the server

    def _tell_all(self) -> None:
        for event in self._link.events():
            if not self._commands.apply(event):
                self._tell(event)

    def _tell(self, event: ClientEvent) -> None:
        match event:
            case Welcomed():
                self._deadline_s = None
                self._say(f"Assigned rank: {event.rank}")
                if self._seat is not None:
                    self._open_seat()
                if os.isatty(self._input_fd):
                    self._say(_HINT)
            case ExecuteReceived():
                self._say(*tell(event), f"Executed: {shown(event.payload)}")
                if event.wants_result:
                    self._link.session.try_result(event.seq, Status.OK)
            case RefusalReceived():
                self._say(*tell(event, self._sent.pop(event.id)))
                self._note(Exit.REFUSED)
            case CommandDone():
                self._say(*tell(event, self._sent.pop(event.id)))
                self._note(
                    Exit.of(
                        failed=event.failed, rejected=event.rejected, expired=event.expired, left=event.left
                    )
                )
            case CommandAccepted() | ResultRouted():
                self._say(*tell(event, self._sent[event.id]))
            case Ended():
                self._end(event.error)
            case ServerErrorReceived():
                pass  # Ended says it
            case _:
                self._say(*tell(event))

    def _end(self, error: RankmuxError | None) -> None:
        for command in self._sent.values():
            self._say(f"Not known, the connection went first: {command}")
        self._sent.clear()
        self._commands.lost(error)
        if error is None:
            return
        self._note(Exit.NOT_CONNECTED)
        if isinstance(error, ServerError):
            complain(why(error))
        elif isinstance(error, ConnectionLost):
            complain(f"the connection is gone: {error.reason}")
        else:
            complain(f"this is no rankmux server, or a broken one: {error}")

    def _note(self, code: Exit) -> None:
        self._code = max(self._code, code)

    def _say(self, *lines: str) -> None:
        put(self._output, "".join(f"{line}\n" for line in lines))


def interrupt_on_signals() -> None:
    """SIGTERM leaves the room as Ctrl-C does, and SIGHUP too, but for nohup."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupt)
