"""A log in memory that several servers share, which can stall, lose and double; and servers over it, turn by turn."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from rankmux.codes import SERVER_FRAMES
from rankmux.core.wire.frames import Keep
from rankmux.server.cluster.log import Failed, LogEvent, Opened, Read
from rankmux.server.server import Server
from rankmux.wire import Frame, Hello, Welcome, decode

__all__ = ["Client", "Cluster", "MemoryLog", "Store", "cluster"]


class Store:
    """What has been stored, for all servers, and when by the log's own clock, in seconds."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.clock = clock
        self.stored_ms: dict[int, int] = {}
        self.entries: list[bytes] = []
        self.snapshots: list[tuple[int, bytes]] = []
        self.created = "first"
        self.entry_max = 1 << 20

    @property
    def at_ms(self) -> int:
        return round(self.clock() * 1000)

    def add(self, entry: bytes) -> None:
        self.entries.append(entry)
        self.stored_ms[len(self.entries)] = self.at_ms


class MemoryLog:
    """One server's view. `cut`: nothing passes; `stalled`: what is appended is stored when it ends.

    `before_poll` is called before each poll.
    """

    restarts = 0
    lacking = False

    def __init__(self, store: Store) -> None:
        self.store_ = store
        self.at = 0
        self.cut = self.stalled = self.closed = False
        self.stored = 0
        self.events: list[LogEvent] = []
        self.waiting: list[tuple[bytes, bool]] = []
        self.before_poll: Callable[[], object] = lambda: None

    @property
    def newest(self) -> int:
        return len(self.store_.entries)

    def open(self, applied: int, now: float) -> None:
        self.at = applied
        self.reopen()

    def reopen(self, *, snapshot: bool = True) -> None:
        store = self.store_
        seq, data = store.snapshots[-1] if snapshot and store.snapshots and not self.at else (0, b"")
        self.at = max(self.at, seq)
        latest = b"" if seq else b"".join(store.entries[self.at - 1 : self.at] if self.at else [])
        last = len(store.entries)
        self.events.append(Opened(store.created, last, store.entry_max, seq, data, store.at_ms, latest))

    def append(self, entry: bytes, *, first: bool = False) -> None:
        if self.cut:
            return
        if self.stalled:
            self.waiting.append((entry, first))
        elif not (first and self.store_.entries):
            self.store_.add(entry)

    def go_on(self) -> None:
        self.stalled = False
        waiting, self.waiting = self.waiting, []
        for entry, first in waiting:
            self.append(entry, first=first)

    def store(self, seq: int, snapshot: bytes) -> None:
        self.store_.snapshots.append((seq, snapshot))
        self.stored, self.lacking = seq, False

    def poll(self, now: float) -> list[LogEvent]:
        self.before_poll()
        if self.cut:
            return []
        events, self.events = self.events, []
        while self.at < len(self.store_.entries):
            self.at += 1
            stored_ms = self.store_.stored_ms.get(self.at, 0)
            events.append(Read(self.at, self.store_.entries[self.at - 1], stored_ms))
        return events

    def patience(self, now: float) -> float:
        news = self.events or self.at < len(self.store_.entries)
        return 0.0 if news and not self.cut else float("inf")

    def fail(self, text: str) -> None:
        self.events.append(Failed(text))

    def close(self) -> None:
        self.closed = True


class Client:
    """A member that reads on request."""

    def __init__(self, server: Server, name: str, keep: Keep | None = None, flags: int = 0) -> None:
        self.sock = socket.create_connection(server.address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.ended = False
        self._stream = b""
        self.send(Hello(name, b"", 1, flags, keep))

    def send(self, *frames: Frame) -> None:
        self.sock.sendall(b"".join(frame.encode() for frame in frames))

    def news(self) -> list[Any]:
        """The frames since the last call."""
        try:
            while data := self.sock.recv(1 << 16):
                self._stream += data
            self.ended = True
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True
        found = []
        while len(self._stream) >= 4 and len(self._stream) >= (end := 4 + int.from_bytes(self._stream[:4])):
            found.append(decode(self._stream[4], self._stream[5:end], SERVER_FRAMES))
            self._stream = self._stream[end:]
        return found


class Cluster:
    """Servers with one room, on one clock that stands still unless it is told to go on."""

    def __init__(self, servers: int, **settings: Any) -> None:
        self.now = 1000.0
        self._numbers = count(1000)  # the first server has the smallest incarnation
        self.store = Store(lambda: self.now + 777)
        self.settings: dict[str, Any] = {"seats": 8, "first_ticket": 1, "cluster": "nats://memory"} | settings
        self.logs: list[MemoryLog] = []
        self.servers: list[Server] = []
        self.clients: list[Client] = []
        for _ in range(servers):
            self.add()

    def add(self, ahead: float = 0.0, **settings: Any) -> Server:
        """One more, whose clock is `ahead` of the others'."""
        log = MemoryLog(self.store)
        name = f"s{len(self.servers) + 1}"
        all_settings = self.settings | {"server_name": name} | settings
        server = Server(
            log_=log,
            clock=lambda: self.now + ahead,
            randbits=lambda _: next(self._numbers),
            port=0,
            **all_settings,
        )
        self.logs.append(log)
        self.servers.append(server)
        return server

    def turn(self, count: int = 8) -> None:
        """Turns of all servers, at one moment."""
        for _ in range(count):
            for server in self.servers:
                server.step(0.0)

    def wait(self, seconds: float) -> None:
        """Time goes by, a quarter of a second at a time; members answer PINGs."""
        for _ in range(round(seconds * 4)):
            self.now += 0.25
            self.turn(2)

    def join(self, at: int, name: str, keep: Keep | None = None, flags: int = 0) -> Client:
        client = Client(self.servers[at], name, keep, flags)
        self.clients.append(client)
        self.turn()
        return client

    def joined(self, at: int, name: str, keep: Keep | None = None) -> tuple[Client, Welcome]:
        client = self.join(at, name, keep)
        (welcome,) = client.news()
        assert isinstance(welcome, Welcome)
        return client, welcome

    def agree(self) -> None:
        """All servers that have read all have the same room."""
        assert len({server.room.dump() for server in self.servers if not server.stopped}) == 1


@contextmanager
def cluster(count: int, **settings: Any) -> Iterator[Cluster]:
    """Servers that are up."""
    made = Cluster(count, **settings)
    try:
        made.turn()
        yield made
    finally:
        for client in made.clients:
            client.sock.close()
        for server in made.servers:
            server.close()
