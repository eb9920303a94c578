"""Attacking connections, the loop that drives them, and floods of frames from members. Run by `tests.attack`."""

from __future__ import annotations

import selectors
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from ..protocol.frames import Command, Frame, Hello, Ping, Pong, Result, Target, Who, encode, encode_all

LIMIT_S = 90.0
PATIENCE_S = 5.0  # for one blocking call of an attacker
CHUNK_BYTES = 65_536
SMALL_WINDOW = 4096

FLOODS: dict[str, tuple[Frame, ...]] = {
    "pings": (Ping(),),
    "pongs": (Pong(b"nobody asked"),),
    "who_none": (Who(1, 0, 0),),
    "who_all": (Who(1, 0, 10_000),),
    "not_lower": (Command(1, Target.ONE, 0),),
    "no_target": (Command(1, Target.ALL),),
    "results": (Result(1 << 40),),
    "empty_commands": (Command(1, Target.ALL),),
}
FLOODS["mix"] = tuple(
    frame for name, frames in FLOODS.items() for frame in frames * (8 if name == "pings" else 1)
)
"""The endless input from a member, by the name of the flood."""


class Stream:
    """One attacking connection: it sends the bytes from `refill`, as fast as the server takes them.

    Input is read and counted, or with `reads=False` left unread.
    """

    def __init__(self, sock: socket.socket, refill: Callable[[], bytes], *, reads: bool = True) -> None:
        self.sock = sock
        self.reads = reads
        self.opened_at = time.monotonic()
        self.sent = 0
        self.received = 0
        self.idle = False
        self._refill = refill
        self._out = memoryview(b"")
        sock.setblocking(False)

    def write(self) -> None:
        """Send once; `idle` afterwards if there is nothing more to send."""
        if not self._out:
            self._out = memoryview(self._refill())
        if not self._out:
            self.idle = True
            return
        with suppress(BlockingIOError):
            taken = self.sock.send(self._out)
            self._out = self._out[taken:]
            self.sent += taken

    def read(self) -> None:
        """Read once; an end of the stream is an error, like a reset."""
        with suppress(BlockingIOError):
            data = self.sock.recv(1 << 18)
            if not data:
                raise ConnectionResetError
            self.received += len(data)
            self.take(data)

    def take(self, data: bytes) -> None:
        """A hook for streams that examine their input."""

    def close(self) -> None:
        self.sock.close()


class Crowd:
    """Many streams in one loop. One that the server closes is counted, and replaced if there is a `replace`."""

    def __init__(self, streams: list[Stream], replace: Callable[[], Stream] | None = None) -> None:
        self.streams = streams
        self.closed_after: list[float] = []
        self._replace = replace
        self._sent = self._received = 0
        self._selector = selectors.DefaultSelector()
        self._began = 0.0

    def go(self) -> None:
        """Begin: the first bytes of all streams are sent when this returns."""
        self._began = time.monotonic()
        for stream in self.streams[:]:
            self._add(stream)
            self._do(stream, selectors.EVENT_WRITE)

    def run(self) -> None:
        """Continue until standard input is closed."""
        selector = self._selector
        selector.register(sys.stdin, selectors.EVENT_READ)
        deadline = time.monotonic() + LIMIT_S
        unfinished = True
        while time.monotonic() < deadline:
            for key, mask in selector.select(0.2):
                if key.data is None:
                    if not sys.stdin.readline():
                        return
                elif key.data in self.streams:
                    self._do(key.data, mask)
            if unfinished and self.finished():
                unfinished = False
                print("finished", flush=True)

    def finished(self) -> bool:
        """Whether all expected frames have arrived; a flood is never finished."""
        return False

    def report(self) -> dict[str, object]:
        """The figures of the whole attack."""
        alive, now = self.streams, time.monotonic()
        return {
            "seconds": time.monotonic() - self._began,
            "sent": self._sent + sum(stream.sent for stream in alive),
            "received": self._received + sum(stream.received for stream in alive),
            "closed_after": self.closed_after,
            "open": len(alive),
            "longest_s": max(
                [*self.closed_after, *[now - stream.opened_at for stream in alive]], default=0.0
            ),
        }

    def _add(self, stream: Stream) -> None:
        wanted = selectors.EVENT_WRITE | (selectors.EVENT_READ if stream.reads else 0)
        self._selector.register(stream.sock, wanted, stream)

    def _do(self, stream: Stream, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                stream.read()
            if mask & selectors.EVENT_WRITE:
                stream.write()
                if stream.idle:
                    self._rest(stream)
        except OSError:
            self._lose(stream)

    def _rest(self, stream: Stream) -> None:
        """Nothing more to send: only read."""
        if stream.reads:
            self._selector.modify(stream.sock, selectors.EVENT_READ, stream)
        else:
            self._selector.unregister(stream.sock)

    def _lose(self, stream: Stream) -> None:
        self.streams.remove(stream)
        with suppress(KeyError):
            self._selector.unregister(stream.sock)
        stream.close()
        self.closed_after.append(time.monotonic() - stream.opened_at)
        self._sent += stream.sent
        self._received += stream.received
        if self._replace is not None:
            with suppress(OSError):
                self.streams.append(self._replace())
                self._add(self.streams[-1])


def connect(host: str, port: int, *, source: str = "", window: int = 0) -> socket.socket:
    """A TCP connection, from the loopback address `source`, with a receive buffer of `window` bytes."""
    sock = socket.socket()
    try:
        if window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        if source:
            sock.bind((source, 0))
        sock.settimeout(PATIENCE_S)
        sock.connect((host, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def join(host: str, port: int, name: str = "", *, window: int = 0) -> socket.socket:
    """A member whose WELCOME has been read."""
    sock = connect(host, port, window=window)
    try:
        sock.sendall(encode(Hello(name=name)))
        welcome = b""
        while len(welcome) < 4 or len(welcome) < 4 + int.from_bytes(welcome[:4], "big"):
            data = sock.recv(
                4 + int.from_bytes(welcome[:4], "big") - len(welcome) if len(welcome) >= 4 else 4
            )
            if not data:
                raise ConnectionResetError("no WELCOME")
            welcome += data
        if welcome[4] != 0x81:
            raise ConnectionResetError(f"no WELCOME: {welcome!r}")
    except BaseException:
        sock.close()
        raise
    return sock


def chunk(kind: str) -> bytes:
    """About 64 KiB of whole frames of a flood."""
    once = encode_all(*FLOODS[kind])
    return once * max(1, CHUNK_BYTES // len(once))


def frames(host: str, port: int, kind: str, members: int, reads: bool) -> Crowd:
    """Members that send the frames of a flood without end; one that the server removes joins again."""
    octets = chunk(kind)

    def member() -> Stream:
        sock = join(host, port, window=0 if reads else SMALL_WINDOW)
        return Stream(sock, lambda: octets, reads=reads)

    return Crowd([member() for _ in range(members)], member)


FLOOD_ATTACKS: dict[str, Callable[..., Crowd]] = {"frames": frames}
