"""How `send` and `who` reach a seat: one that is held, through its control socket, or one of their own.

Either way requests go in and replies come out as `seat_frames` has them. A seat of one's own is the last in line; it
executes nothing, and is left again at the end.
"""

from __future__ import annotations

import argparse
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable

from ...core.client.events import ClientEvent, ExecuteReceived, Welcomed
from ...core.wire.codes import Status
from ...errors import ConnectionLost, RankmuxError
from ..shared.connection_flags import address_of, token_reader
from .loop import READABLE, WRITABLE, Loop
from .protocol import ControlError, FrameReader, Header, encoded
from .requests import Replied, Requests
from .seat import Seat
from .socket import SEAT_VARIABLE

__all__ = ["Channel", "Gone", "open_channel"]

_READ_BYTES = 256 * 1024
_PAYLOAD_MAX = 1 << 30  # a listing of all members of a large room

Gone = Callable[[RankmuxError], None]
"""Is called when nothing more comes, with why."""


class Channel(ABC):
    """A way to a seat. `own` tells whether it was joined for this alone."""

    own = False

    @abstractmethod
    def request(self, header: Header, payload: bytes = b"") -> None:
        """Ask for something."""

    @property
    @abstractmethod
    def unsent_size(self) -> int:
        """How many bytes have not gone out yet."""

    @abstractmethod
    def close(self, then: Callable[[], None]) -> None:
        """Give it up; `then()` when that is done."""


class _HeldSeat(Channel):
    """Over the control socket at `path`."""

    def __init__(self, loop: Loop, path: str, timeout_s: float, replied: Replied, gone: Gone) -> None:
        self._loop = loop
        self._replied = replied
        self._gone = gone
        self._reader = FrameReader(_PAYLOAD_MAX)
        self._output = bytearray()
        self._socket = socket.socket(socket.AF_UNIX)
        self._closed = False
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            reason = error.strerror or str(error)
            raise ConnectionLost(f"no seat is held at {path} ({reason})") from error
        self._socket.setblocking(False)
        loop.watch(self._socket.fileno(), READABLE, self._ready)
        silence = ConnectionLost(f"the seat at {path} was silent for {timeout_s:g} s")
        self._patience = loop.after(timeout_s, lambda: self._end(silence))

    def request(self, header: Header, payload: bytes = b"") -> None:
        self._output += encoded(header, payload)
        self._flush()

    @property
    def unsent_size(self) -> int:
        return len(self._output)

    def close(self, then: Callable[[], None]) -> None:
        if not self._closed:
            self._closed = True
            self._patience.cancel()
            self._loop.watch(self._socket.fileno(), 0, self._ready)
            self._socket.close()
        then()

    def _flush(self) -> None:
        if self._closed:
            return
        try:
            while self._output:
                del self._output[: self._socket.send(self._output)]
        except BlockingIOError:
            pass
        except OSError:
            self._output.clear()  # the reading end says how it ended
        self._loop.watch(self._socket.fileno(), READABLE | (WRITABLE if self._output else 0), self._ready)

    def _ready(self, mask: int) -> None:
        if mask & WRITABLE:
            self._flush()
        if mask & READABLE:
            self._read()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            for header, payload in self._reader.receive_data(data):
                self._patience.cancel()  # it has greeted us
                if header.get("is") == "error":
                    raise ControlError(payload.decode(errors="replace"))
                self._replied(header, payload)
                if self._closed:
                    return
        except ControlError as error:
            self._end(error)
            return
        if not data:
            self._end(ConnectionLost("the seat is not held any more"))

    def _end(self, error: RankmuxError) -> None:
        self.close(lambda: None)
        self._gone(error)


class _OwnSeat(Channel):
    """A seat of our own."""

    own = True

    def __init__(self, loop: Loop, arguments: argparse.Namespace, replied: Replied, gone: Gone) -> None:
        self._gone = gone
        self._seat = Seat(
            loop,
            address_of(arguments),
            arguments.name,
            token_reader(arguments),
            arguments.connect_timeout,
            reconnect=False,
            on_event=self._happened,
            on_lost=lambda error, _: self._gone(error),
        )
        self._requests = Requests(self._seat.commands, lambda: self._seat.session, replied)
        self._seat.open()

    def request(self, header: Header, payload: bytes = b"") -> None:
        self._requests.request(header, payload)

    @property
    def unsent_size(self) -> int:
        return self._seat.output_size

    def close(self, then: Callable[[], None]) -> None:
        self._requests.close()
        self._seat.leave(then)

    def _happened(self, event: ClientEvent) -> None:
        if isinstance(event, Welcomed):
            self._requests.greet()
        elif isinstance(event, ExecuteReceived) and event.wants_result and self._seat.session is not None:
            self._seat.session.try_result(event.seq, Status.REJECTED, b"this seat executes nothing")


def open_channel(loop: Loop, arguments: argparse.Namespace, replied: Replied, gone: Gone) -> Channel:
    """The seat that --seat or RANKMUX_SEAT names, or one of our own. Raises ConnectionLost or LocalError.

    `replied` is called with each reply, the greeting first; `gone` when no more can come.
    """
    path = arguments.seat or os.environ.get(SEAT_VARIABLE)
    return (
        _HeldSeat(loop, path, arguments.connect_timeout, replied, gone)
        if path
        else _OwnSeat(loop, arguments, replied, gone)
    )
