"""Signal handlers run at each point of a client where CPython can run one, and a server that counts frames.

CPython runs them when a Python function begins and when a C function has returned: `sys.setprofile` reports both.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rankmux.core.wire.codes import CommandFlag
from rankmux.wire import Accepted, Done, Execute, Members, Rank, Routed

from .fake_server import Connection

_FOLDERS = ("rankmux/client", "rankmux/aio", "rankmux/core")
_OF_TRANSPORTS = {"write", "_write_ready", "_write_send", "_read_ready__data_received"}
"""Functions of asyncio that move bytes for its transports, in case a client has one."""


def ctrl_c() -> None:
    raise KeyboardInterrupt


@contextmanager
def signal_after(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """A real signal after that time, whose handler calls `act`."""
    before = signal.signal(signal.SIGALRM, lambda *_: act())
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Interrupter:
    """Calls `act` at the point with index `at`, counted from 0."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self._left = at
        self._act = act
        self.place = ""

    @contextmanager
    def __call__(self) -> Iterator[None]:
        sys.setprofile(self._see)
        try:
            with suppress(KeyboardInterrupt):
                yield
        finally:
            sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, argument: object) -> None:
        path = frame.f_code.co_filename
        if event not in ("call", "c_return") or self.place:
            return
        moves = "selector_events" in path and frame.f_code.co_name in _OF_TRANSPORTS
        if not moves and not any(folder in path for folder in _FOLDERS):
            return
        if frame.f_code.co_name == "<genexpr>":
            return  # the object may be in finalization, where exceptions are only reported
        if self._left == 0:
            self.place = f"{path}:{frame.f_lineno}: {event} {argument}"
            self._act()
        self._left -= 1


class Recorder:
    """A server, and the commands, results and other frames that it received."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.results: list[bytes] = []
        self.others: Counter[int] = Counter()

    def serve(self, connection: Connection) -> None:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"to do"), Rank(13, 1, 2, 1))
        seq = 13
        while True:
            try:
                type_, body = connection.read()
            except ConnectionResetError:
                return
            if type_ == -1:
                return
            if type_ == 0x02:
                self.commands.append(body[14:])
                id_, seq = int.from_bytes(body[:4]), seq + 1
                if not body[9] & CommandFlag.QUIET:
                    connection.send(Accepted(id_, seq, 1, 2))
                if body[9] & CommandFlag.RESULTS:
                    connection.send(Routed(id_, 5, 3, 0, b"done"), Done(id_, 1, 0, 0, 0, 0))
            elif type_ == 0x03:
                self.results.append(body[9:])
                connection.send(Execute(1000, 0, 0, 0, b"stop"))
            else:
                self.others[type_] += 1
                if type_ == 0x05:
                    connection.send(Members(int.from_bytes(body[:4]), 13, 0, ()))
                if type_ == 0x08:
                    return
