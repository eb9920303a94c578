"""Simulated TCP connections: two pipes of bounded size, with latency, cuts, ends and resets. Knows no servers."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable

from .world import World

__all__ = ["End", "Host", "connection"]


class Host:
    """A machine on the network. `deaf`: nothing reaches it; `mute`: nothing that it sends reaches anybody.

    `held` are the pipes in which something waits for the network to be whole again: TCP sends again what was lost.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.deaf = self.mute = False
        self.held: dict[Pipe, None] = {}

    def cut_off(self, *, deaf: bool, mute: bool) -> bool:
        """Cut it off, until `heal`; False if it is already."""
        if self.cut:
            return False
        self.deaf, self.mute = deaf, mute
        return True

    def heal(self) -> None:
        """The network is whole again."""
        self.deaf = self.mute = False
        held, self.held = self.held, {}
        for pipe in held:
            pipe.pass_on()

    @property
    def cut(self) -> bool:
        """Whether something does not get through."""
        return self.deaf or self.mute


class Pipe:
    """One direction of a connection. What arrives is in `held`, the ends come behind it."""

    def __init__(self, world: World, sender: Host, receiver: Host, capacity: int, latency_s: float) -> None:
        self.held = bytearray()
        self.sent_at: deque[tuple[int, float]] = deque()  # up to which byte (of all) something was sent when
        self.ended = False  # the end of the stream has arrived
        self.end_sent_at = 0.0
        self.ends_at = float("inf")  # when its end was sent, be it still on its way
        self.full = False  # a send was told so
        self.on_arrival: Callable[[], None] = lambda: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_reset: Callable[[], None] = lambda: None
        self._world = world
        self._hosts = sender, receiver
        self._capacity = capacity
        self._latency_s = latency_s
        self._flying = 0
        self._last_at = 0.0
        self._count = 0
        self._arriving: deque[Callable[[], None]] = deque()
        self._lives = 0  # a reset loses what is under way

    @property
    def room(self) -> int:
        """How many bytes it takes now."""
        return max(0, self._capacity - self._flying - len(self.held))

    def send(self, data: bytes) -> None:
        """`data` fits in, and arrives some time."""
        self._flying += len(data)
        self._count += len(data)
        life, count, sent_at = self._lives, self._count, self._world.now

        def arrive() -> None:
            if life == self._lives:
                self._flying -= len(data)
                self.held += data
                self.sent_at.append((count, sent_at))
                self.on_arrival()

        self._travel(arrive)

    def open(self, arrive: Callable[[], None]) -> None:
        """The connection is asked for: `arrive` is called when the other side learns of it."""
        self._travel(arrive)

    def end(self) -> None:
        """The stream ends here."""
        sent_at = self._world.now
        self.ends_at = min(self.ends_at, sent_at)

        def arrive() -> None:
            self.ended, self.end_sent_at = True, sent_at
            self.on_arrival()

        self._travel(arrive)

    def reset(self, lose: bool) -> None:
        """The stream breaks here; what is under way is lost with it, or not."""
        sent_at = self._world.now
        self.ends_at = min(self.ends_at, sent_at)
        if lose:
            self._lives += 1
            self._flying = 0

        def arrive() -> None:
            if not self.ended:  # else it was lost when the stream ended, whatever its kernel answers later
                self.end_sent_at = sent_at
            self.on_reset()

        self._travel(arrive)

    def take(self, size: int) -> bytes:
        """Up to `size` of the bytes that have arrived."""
        data = bytes(self.held[:size])
        del self.held[:size]
        if self.full and data:
            self.full = False
            self._world.after(self._latency_s, self.on_room)
        return data

    def _travel(self, arrive: Callable[[], None]) -> None:
        world = self._world
        latency_s = self._latency_s * (1.0 + world.random.random())
        self._last_at = at = max(self._last_at, world.now + latency_s)

        def come() -> None:
            self._arriving.append(arrive)
            self.pass_on()

        world.at(at, come)

    def pass_on(self) -> None:
        """Deliver what has come, in its order, unless the network is cut."""
        sender, receiver = self._hosts
        arriving = self._arriving
        while arriving:
            if sender.mute or receiver.deaf:
                sender.held[self] = receiver.held[self] = None
                return
            arriving.popleft()()


class End:
    """One end of a connection, as the kernel has it. `notify` is called when it may have become ready."""

    def __init__(self, incoming: Pipe, outgoing: Pipe, world: World) -> None:
        self.incoming, self.outgoing = incoming, outgoing
        self.error = 0
        self.closed = False
        self.shut = False
        self.notify: Callable[[], None] = lambda: None
        self._world = world
        incoming.on_arrival = self._arrived
        incoming.on_reset = self._broke
        outgoing.on_room = self._has_room

    @property
    def readable(self) -> bool:
        return bool(self.incoming.held or self.incoming.ended or self.error)

    @property
    def writable(self) -> bool:
        return bool(self.outgoing.room or self.error)

    @property
    def hung_up(self) -> bool:
        return bool(self.incoming.ended or self.error)

    def receive(self, size: int, *, peek: bool = False) -> bytes:
        """Up to `size` bytes, b"" at the end of the stream; raises as a socket that does not block."""
        incoming = self.incoming
        if incoming.held:
            return bytes(incoming.held[:size]) if peek else incoming.take(size)
        if self.error:
            raise OSError(self.error, "reset")
        if incoming.ended:
            return b""
        raise BlockingIOError(errno.EAGAIN, "nothing to read")

    def send(self, data: bytes) -> int:
        """The number of bytes that were taken; raises as a socket that does not block."""
        if self.error:
            raise OSError(self.error, "reset")
        if self.shut:
            raise OSError(errno.EPIPE, "shut")
        room = self.outgoing.room
        if len(data) > room:
            self.outgoing.full = True
            if not room:
                raise BlockingIOError(errno.EAGAIN, "full")
            data = data[:room]
        if data:
            self.outgoing.send(data)
        return len(data)

    def shutdown(self) -> None:
        """Nothing more is sent."""
        if self.error:
            raise OSError(errno.ENOTCONN, "not connected")
        if not self.shut:
            self.shut = True
            self.outgoing.end()

    def close(self, *, reset: bool = False) -> None:
        """Bytes that were not read make it a reset, too."""
        if self.closed:
            return
        self.closed = True
        if self.error:
            return
        if reset or self.incoming.held:
            self.outgoing.reset(lose=self._world.chance(0.5))
        elif not self.shut:
            self.shut = True
            self.outgoing.end()

    def _arrived(self) -> None:
        if not self.closed:
            self.notify()
        elif self.incoming.held:  # the kernel answers for a socket that is gone
            self.incoming.held.clear()
            self.outgoing.reset(lose=False)

    def _broke(self) -> None:
        self.error = errno.ECONNRESET
        if not self.closed:
            self.notify()

    def _has_room(self) -> None:
        if not self.closed:
            self.notify()


def connection(world: World, client: Host, server: Host, capacity: int) -> tuple[End, End]:
    """A connection that is set up: its client's end and its server's."""
    latency_s = world.random.choice((0.0002, 0.001, 0.005, 0.02))
    there = Pipe(world, client, server, capacity, latency_s)
    back = Pipe(world, server, client, capacity, latency_s)
    return End(back, there, world), End(there, back, world)
