"""A blocking test client: one plain socket, and every wait has a deadline.

Input is checked strictly: whole frames within the bound, WELCOME first, nothing after ERROR, and the same
bytes again when the decoded frame is encoded. PINGs of the server are answered by default.
"""

from __future__ import annotations

import itertools
import socket
import struct
import time
from typing import TypeVar

from .frames import (
    HEADROOM,
    MAX_PAYLOAD,
    QUIET,
    RESULTS,
    TIED,
    Code,
    Command,
    Error,
    Execute,
    Frame,
    Hello,
    Leave,
    MalformedError,
    Members,
    Ping,
    Pong,
    Result,
    Status,
    Target,
    Welcome,
    Who,
    decode,
    encode,
    encode_all,
)

DEADLINE_S = 5.0  # no answer on loopback takes this long

AnyFrame = TypeVar("AnyFrame", bound=Frame)


class SilenceError(Exception):
    """No whole frame arrived in time."""


class ClosedError(Exception):
    """The server ended the connection, by end of stream or by reset, possibly inside a frame."""

    def __init__(self, orderly: bool, torn: bytes) -> None:
        super().__init__(orderly, torn)
        self.orderly = orderly
        self.torn = torn

    def __str__(self) -> str:
        how = "end of stream" if self.orderly else "reset"
        return f"{how}, {len(self.torn)} bytes of an unfinished frame"

    def require_whole(self, *, reset_ok: bool = False) -> None:
        """Whether the stream ended between two frames, without a reset."""
        assert not self.torn, f"the last frame is torn: {self}"
        assert self.orderly or reset_ok, f"not an end of stream: {self}"


class Peer:
    """One client. It sends only what the test asks for, and PONGs, if `answers_pings`."""

    def __init__(self, host: str, port: int, *, receive_buffer: int = 0, answers_pings: bool = True) -> None:
        self.answers_pings = answers_pings
        self.welcome: Welcome | None = None
        self.wire = b""  # the bytes of the last frame received
        self.sock = socket.socket()
        try:
            if receive_buffer:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.sock.settimeout(DEADLINE_S)
            self.sock.connect((host, port))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.address = "{}:{}".format(*self.sock.getsockname())
        except BaseException:
            self.sock.close()
            raise
        self._buffer = bytearray()
        self._ended: ClosedError | None = None
        self._failed = False
        self._barriers = itertools.count()

    # Received state

    @property
    def joined(self) -> Welcome:
        """The WELCOME of this connection."""
        assert self.welcome is not None, "not welcomed yet"
        return self.welcome

    @property
    def ticket(self) -> int:
        return self.joined.ticket

    # Sending

    def raw(self, octets: bytes) -> None:
        """Send raw bytes."""
        self.sock.settimeout(DEADLINE_S)
        self.sock.sendall(octets)

    def send(self, *frames: Frame) -> None:
        """Send frames in one call."""
        self.raw(encode_all(*frames))

    def hello(self, name: str = "", token: bytes = b"", *, flags: int = 0, resume: bytes = b"") -> Welcome:
        """Send HELLO and receive WELCOME."""
        self.send(Hello(1, flags, name, token, resume))
        return self.expect(Welcome)

    def command(
        self,
        ident: int,
        target: int = Target.ALL,
        arg: int = 0,
        payload: bytes = b"",
        *,
        results: bool = False,
        quiet: bool = False,
        tied: bool = False,
        ttl_ms: int = 0,
    ) -> None:
        """Send a COMMAND."""
        flags = (RESULTS if results else 0) | (QUIET if quiet else 0) | (TIED if tied else 0)
        self.send(Command(ident, target, arg, flags, ttl_ms, payload))

    def result(self, seq: int, status: int = Status.OK, payload: bytes = b"") -> None:
        """Send a RESULT."""
        self.send(Result(seq, status, payload))

    def who(self, ident: int = 0, first_rank: int = 0, count: int = 100) -> Members:
        """Send WHO and read the MEMBERS that answers it."""
        self.send(Who(ident, first_rank, count))
        return self.expect(Members, id=ident)

    def ping(self, opaque: bytes = b"") -> None:
        """Send PING and read its PONG."""
        self.send(Ping(opaque))
        self.expect(Pong, opaque=opaque)

    def leave(self) -> None:
        """Send LEAVE."""
        self.send(Leave())

    # Ending

    def half_close(self) -> None:
        """Half-close; the server may still send."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close so that the server gets a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """Close; the server gets an end of stream if everything it sent was read."""
        self.sock.close()

    # Receiving

    def recv_wire(self, timeout_s: float = DEADLINE_S) -> bytes:
        """The bytes of the next whole frame; raises SilenceError, ClosedError or MalformedError."""
        deadline = time.monotonic() + timeout_s
        while True:
            if len(self._buffer) >= 4:
                (length,) = struct.unpack_from(">I", self._buffer)
                bound = (self.welcome.max_payload if self.welcome else MAX_PAYLOAD) + HEADROOM
                if not 1 <= length <= bound:
                    raise MalformedError(f"a length of {length}, the bound is {bound}")
                if len(self._buffer) >= 4 + length:
                    wire = bytes(self._buffer[: 4 + length])
                    del self._buffer[: 4 + length]
                    return wire
            self._fill(deadline)

    def recv(self, timeout_s: float = DEADLINE_S) -> Frame:
        """The next frame; raises SilenceError, ClosedError or MalformedError."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.wire = self.recv_wire(max(0.0, deadline - time.monotonic()))
            frame = decode(self.wire)
            self._judge(frame)
            if isinstance(frame, Ping) and self.answers_pings:
                self.send(Pong(frame.opaque))
                continue
            return frame

    def expect(self, kind: type[AnyFrame], timeout_s: float = DEADLINE_S, **values: object) -> AnyFrame:
        """The next frame, which must be of this type and have these values."""
        try:
            frame = self.recv(timeout_s)
        except SilenceError:
            raise AssertionError(f"expected {kind.__name__} {values}, got nothing") from None
        except ClosedError as closed:
            raise AssertionError(f"expected {kind.__name__} {values}, got {closed}") from None
        assert isinstance(frame, kind), f"expected {kind.__name__} {values}, got {frame!r:.300}"
        for name, value in values.items():
            seen = getattr(frame, name)
            assert seen == value, f"expected {name}={value!r:.100}, got {frame!r:.300}"
        return frame

    def expect_execute(self, sender_rank: int, payload: bytes) -> Execute:
        """The next frame, which must be this command."""
        return self.expect(Execute, sender_rank=sender_rank, payload=payload)

    def expect_close(self, timeout_s: float = DEADLINE_S, *, reset_ok: bool = False) -> None:
        """Assert that the stream ends without further frames."""
        try:
            frame = self.recv(timeout_s)
        except ClosedError as closed:
            closed.require_whole(reset_ok=reset_ok)
            return
        except SilenceError:
            raise AssertionError("the connection was not closed") from None
        raise AssertionError(f"expected the end, got {frame!r:.300}")

    def expect_error(self, code: Code, timeout_s: float = DEADLINE_S, *, reset_ok: bool = False) -> Error:
        """An ERROR with this code, then the end of the stream."""
        error = self.expect(Error, timeout_s, code=code)
        self.expect_close(reset_ok=reset_ok)
        return error

    def expect_nothing(self, seconds: float = 0.05) -> None:
        """Assert that nothing arrives for this long, not even an end of stream."""
        try:
            frame = self.recv(seconds)
        except SilenceError:
            return
        except ClosedError as closed:
            raise AssertionError(f"expected nothing, got {closed}") from None
        raise AssertionError(f"expected nothing, got {frame!r:.300}")

    def settle(self) -> list[Frame]:
        """The frames before the answer to a PING sent now: everything that the server had for us."""
        mark = b"settle %d" % next(self._barriers)
        self.send(Ping(mark))
        before: list[Frame] = []
        while (frame := self.recv()) != Pong(mark):
            before.append(frame)
        return before

    def expect_quiet(self) -> None:
        """Assert that the server has no frames for us: a PING is answered at once."""
        frames = self.settle()
        assert not frames, f"expected nothing, got {frames!r:.300}"

    def wait_for_total(self, total: int) -> Members:
        """Send WHO until `total` members are left; other frames that arrive meanwhile are dropped."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            self.send(Who(0xFFFF_FFFF))
            (members,) = [frame for frame in self.settle() if isinstance(frame, Members)]
            if members.total == total:
                return members
            assert time.monotonic() < deadline, f"{members.total} members instead of {total}"

    def drain(self) -> list[Frame]:
        """All frames up to the end of the stream."""
        frames: list[Frame] = []
        while True:
            try:
                frames.append(self.recv())
            except ClosedError as closed:
                closed.require_whole()
                return frames

    def drip_until(self, code: Code, octet: bytes = b"\0", every_s: float = 0.05) -> float:
        """Send a byte at a time until the server answers with this ERROR; returns the seconds elapsed."""
        began = time.monotonic()
        while time.monotonic() < began + DEADLINE_S:
            self.raw(octet)
            try:
                self.expect(Error, every_s, code=code)
            except AssertionError:
                if self._ended or self._failed:
                    raise
            else:
                return time.monotonic() - began
        raise AssertionError(f"no ERROR {code!r} while bytes drip in")

    # Internals

    def _fill(self, deadline: float) -> None:
        if self._ended is not None:
            raise self._ended
        self.sock.settimeout(max(0.000_1, deadline - time.monotonic()))
        try:
            chunk = self.sock.recv(1 << 18)
        except (TimeoutError, BlockingIOError):
            raise SilenceError from None
        except OSError:
            self._ended = ClosedError(False, bytes(self._buffer))
            raise self._ended from None
        if not chunk:
            self._ended = ClosedError(True, bytes(self._buffer))
            raise self._ended
        self._buffer += chunk

    def _judge(self, frame: Frame) -> None:
        """Check a frame's place in the connection's life."""
        if encode(frame) != self.wire:
            raise MalformedError(f"{frame!r:.300} is not how {self.wire[:80].hex()} is written")
        if frame.kind < 0x80 and not isinstance(frame, Ping | Pong):
            raise MalformedError(f"{frame!r:.300} is of the other direction")
        if self._failed:
            raise MalformedError(f"{frame!r:.300} after ERROR")
        if isinstance(frame, Error):
            self._failed = True
        elif isinstance(frame, Welcome):
            if self.welcome is not None:
                raise MalformedError("a second WELCOME")
            self.welcome = frame
        elif self.welcome is None:
            raise MalformedError(f"{frame!r:.300} before WELCOME")
