"""A Server driven turn by turn in the test's own thread, with real connections, and a model of its room beside it.

The model is given each turn as the server composed it; the output that it computes for a member must arrive at that
member's socket, byte for byte. There is no thread and no sleep: clients act between turns.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from unittest import mock

from rankmux.codes import Target
from rankmux.core.room.batch import BATON_WRITE
from rankmux.core.room.dispatch import Observe
from rankmux.core.room.room import Room
from rankmux.core.room.turn import Outcome, Turn
from rankmux.server.connections.registry import Connections
from rankmux.server.kernel.fanout import Ring
from rankmux.server.server import Server
from rankmux.wire import (
    Command,
    ErrorFrame,
    Execute,
    Frame,
    Hello,
    Ping,
    Pong,
    Refused,
    Result,
    SetBaton,
    Welcome,
)

from .history import History, parse, split
from .room_model import ModelTurn, RoomModel
from .sockets import DEADLINE_S, reset

AnyFrame = TypeVar("AnyFrame", bound=Frame)
FIRST_OF_CLIENTS = (
    500  # for the clients; lower descriptors are left to the server, which reuses each as soon as it is free
)
NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ModelledRoom(Room):
    """The room, with the model beside it. `owed` and `arrived` are by ticket, over all turns."""

    def __init__(self, *args: int, **more: int) -> None:
        super().__init__(*args, **more)
        self.model = RoomModel(*args, **more)
        self.owed: dict[int, list[Frame]] = defaultdict(list)
        self.arrived: dict[int, list[Command | Result]] = defaultdict(list)
        self.turns = 0
        self.connections: Connections

    def apply(self, turn: Turn, observe: Observe | None = None) -> Outcome:
        entry = turn.entry
        commands, results = entry.batch.entries()
        model_turn = ModelTurn(
            entry.clock_ms / 1000,
            [(ticket, _as_frame(*rest)) for ticket, *rest in commands],
            [(ticket, Result(*rest)) for ticket, *rest in results],
            list(entry.cancels),
            {departure.ticket: departure.cause for departure in entry.departures},
            list(entry.absences),
            list(entry.yields),
            list(entry.joins),
            list(turn.queries),
            list(turn.pings),
            entry.judge,
            set(entry.slow),
            set(self.connections.watchers),
        )
        for kind in (model_turn.commands, model_turn.results):
            for ticket, frame in kind:
                self.arrived[ticket].append(frame)
        outcome = super().apply(turn, observe)
        self.model.apply(model_turn)
        for ticket, frames in (self.model.owed | self.model.observed).items():
            self.owed[ticket] += frames
        for joined in outcome.joined:
            if joined.baton:
                self.owed[joined.ticket] += parse(joined.baton)
            conn = self.connections.at(joined.handle)
            if conn is not None and conn.watches:
                self.owed[joined.ticket] += [c for c in self.model.changes if c.seq > joined.seq]
        for key, conn in self.connections.observers.items():
            if conn.watches:
                answers = len(self.model.observed.get(key, []))
                place = len(self.owed[key]) - answers
                self.owed[key][place:place] = self.model.changes
        assert list(self.ranks.tickets) == [member.ticket for member in self.model.members]
        self.turns += 1
        return outcome


def _as_frame(id_: int, target: int, arg: int, flags: int, ttl_ms: int, payload: bytes) -> Command | SetBaton:
    return (
        SetBaton(id_, payload) if target == BATON_WRITE else Command(id_, target, arg, flags, ttl_ms, payload)
    )


def socket_with_high_descriptor(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    """A new socket whose descriptor is outside the range used by the server."""
    with socket.socket(family) as low:
        return socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, FIRST_OF_CLIENTS))


class Client:
    """A real connection, over TLS if there is a `context`. It reads only on request, and never blocks.

    `address` is that of the server: the path of a Unix socket comes with port 0.
    """

    def __init__(
        self, address: tuple[str, int], receive_buffer: int = 0, context: ssl.SSLContext | None = None
    ) -> None:
        self.sock = socket_with_high_descriptor(socket.AF_INET if address[1] else socket.AF_UNIX)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if address[1]:
            self.sock.connect(address)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.sock.connect(address[0])
        self.sock.setblocking(False)
        if context is not None:  # the first calls perform the handshake
            self.sock = context.wrap_socket(
                self.sock, server_hostname="localhost", do_handshake_on_connect=False
            )
        self.later = b""  # the rest of a partly sent frame
        self.outgoing = b""
        self.sent: list[Command | Result] = []
        self.frames: list[Frame] = []  # every frame received, WELCOME and ERROR included
        self.rest = b""
        self.ended: str | None = None  # "end of stream", "reset", or the test's own action
        self.welcome: Welcome | None = None
        self.history: History | None = None
        self._read = 0

    @property
    def ticket(self) -> int:
        assert self.welcome is not None
        return self.welcome.ticket

    def send(self, *frames: Frame) -> None:
        """Queue frames and send as much as the socket takes."""
        self.sent += [frame for frame in frames if isinstance(frame, Command | Result)]
        self.raw(b"".join(frame.encode() for frame in frames))

    def begin(self, frame: Frame, size: int) -> None:
        """Send the first `size` bytes of a frame; the rest precedes the next data sent."""
        octets = frame.encode()
        self.sent += [frame] if isinstance(frame, Command | Result) else []
        self.raw(octets[:size])
        self.later = octets[size:]

    def raw(self, octets: bytes) -> None:
        self.outgoing += self.later + octets
        self.later = b""
        self.push()

    def push(self) -> None:
        """Send as much of the queue as the socket takes."""
        while self.outgoing and self.ended is None:
            try:
                size = self.sock.send(self.outgoing)
            except NOT_NOW:
                return
            except OSError:
                self.outgoing = b""  # the next read reports how the connection ended
                return
            self.outgoing = self.outgoing[size:]

    def pump(self) -> None:
        """Send and read as much as possible without blocking."""
        self.push()
        while self.ended is None:
            try:
                octets = self.sock.recv(1 << 20)
            except NOT_NOW:
                break
            except ssl.SSLZeroReturnError:
                octets = b""
            except OSError:
                self.ended = "reset"
                break
            if not octets:
                self.ended = "end of stream"
                break
            self.rest += octets
        frames, self.rest = split(self.rest)
        for frame in frames:
            assert not any(isinstance(before, ErrorFrame) for before in self.frames[-1:]), (
                "something behind ERROR"
            )
            if isinstance(frame, Welcome):
                assert self.welcome is None
                self.welcome, self.history = frame, History(frame.ticket, frame.rank)
            elif self.history is not None:
                self.history.got([frame])
            self.frames.append(frame)

    def news(self) -> list[Frame]:
        """The frames since the last call."""
        start, self._read = self._read, len(self.frames)
        return self.frames[start:]

    @property
    def own(self) -> list[Frame]:
        """The frames from the room: all but WELCOME, ERROR and the server's PINGs, without the texts of refusals."""
        return [
            frame._replace(text="") if isinstance(frame, Refused) else frame
            for frame in self.frames
            if not isinstance(frame, Welcome | ErrorFrame | Ping)
        ]

    def close(self, how: str = "closed") -> None:
        self.ended = self.ended or how
        self.sock.close()

    def reset(self) -> None:
        """Close so that the server gets a reset."""
        self.ended = "we reset"
        reset(self.sock)


class Embedded:
    """A server and its clients, all in this thread. Tickets are counted from 1 unless `first_ticket` is set."""

    def __init__(
        self,
        selector: selectors.BaseSelector | None = None,
        context: ssl.SSLContext | None = None,
        **settings: Any,
    ) -> None:
        self._context = context
        with (
            mock.patch("rankmux.server.server.Room", ModelledRoom),
            mock.patch(
                "rankmux.server.server.Ring", partial(Ring, members_min=0)
            ),  # so that small rooms use it too
        ):
            self.server = Server(port=0, selector=selector, **{"first_ticket": 1, **settings})
        assert isinstance(self.server.room, ModelledRoom)
        self.room = self.server.room
        self.room.connections = self.server.connections
        self.clients: list[Client] = []
        self._pings = 0

    def step(self, *readers: Client, timeout: float = 0.0) -> None:
        """A turn; then `readers` read."""
        self.server.step(timeout)
        for client in readers:
            client.pump()

    def until(self, condition: Callable[[], object], *readers: Client) -> None:
        """Turns until `condition` holds; `readers` (all clients if there are none) send and read meanwhile."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "it did not come to that"
            self.step(*(readers or self.clients), timeout=0.01)

    def connect(self, receive_buffer: int = 0) -> Client:
        self.clients.append(Client(self.server.address, receive_buffer, self._context))
        return self.clients[-1]

    def join(self, name: str = "", receive_buffer: int = 0) -> Client:
        """Connect, send HELLO and receive WELCOME."""
        client = self.connect(receive_buffer)
        client.send(Hello(name))
        self.until(lambda: client.welcome, client)
        client.news()
        return client

    def crowd(self, size: int) -> list[Client]:
        return [self.join(f"m{i}") for i in range(size)]

    def settle(self, *clients: Client, readers: list[Client] | None = None) -> None:
        """Run until all input from `clients` (by default all) is processed and all output for them is read.

        `readers` read as well.
        """
        waiting = [c for c in clients or self.clients if c.ended is None and c.welcome is not None]
        for _ in range(2):  # the second time for frames that others sent because of the first
            self._pings += 1
            token = b"settle %d" % self._pings
            for client in waiting:
                client.send(Ping(token))
            answered = Pong(token)
            self.until(
                lambda: all(c.ended or answered in c.frames for c in waiting),  # noqa: B023
                *waiting,
                *(readers or []),
            )

    def check(self, client: Client, *, whole: bool = True) -> None:
        """Compare received frames with the model; if `whole`, none is missing and the client's bytes were all taken."""
        assert client.history is not None
        owed = self.room.owed[client.ticket]
        if whole:
            assert not client.rest
        else:
            owed = owed[: len(client.own)]
        for kind in (Command, Result):
            arrived, sent = (
                [frame for frame in frames if isinstance(frame, kind)]
                for frames in (self.room.arrived[client.ticket], client.sent)
            )
            assert arrived == (sent if whole else sent[: len(arrived)])
        assert client.own == owed

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.close()


def to_all(id_: int, payload: bytes = b"", flags: int = 0) -> Command:
    return Command(id_, Target.ALL, 0, flags, 0, payload)


def executed(client: Client) -> list[bytes]:
    """The payloads of all EXECUTEs received."""
    return [frame.payload for frame in client.frames if isinstance(frame, Execute)]


def open_descriptors() -> set[int]:
    """The open file descriptors of this process."""
    return {fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_open(fd)}


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@contextmanager
def embedded(
    selector: type[selectors.BaseSelector] | None = None,
    context: ssl.SSLContext | None = None,
    **settings: Any,
) -> Iterator[Embedded]:
    """An Embedded that must close everything it opened; its clients use TLS if there is a `context`."""
    before = open_descriptors()
    made = Embedded(selector() if selector is not None else None, context, **settings)
    try:
        yield made
    finally:
        made.close()
    assert open_descriptors() <= before
    counts = made.server.connections.closes.counts
    assert counts.total() == made.server.connections.accepted, "each close is counted under one reason"
