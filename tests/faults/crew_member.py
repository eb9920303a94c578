"""One connection of the clients of the history checker, with a line in its log per frame, as `logs.py` describes them.

It draws its commands and answers from the crew's seed, and checks nothing but its payloads.
"""

from __future__ import annotations

import hashlib
import selectors
import socket
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..protocol.frames import (
    HEADROOM,
    MAX_PAYLOAD,
    QUIET,
    RESULTS,
    TIED,
    WATCH,
    Accepted,
    Baton,
    Cancel,
    Changed,
    Command,
    Done,
    Error,
    Execute,
    Frame,
    Hello,
    Members,
    Ping,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
    Status,
    Target,
    Welcome,
    Who,
    Write,
    Yield,
    Yielded,
    decode,
    encode,
    resume,
)
from .believer import Believer, clock_ms
from .crew import SIZES

if TYPE_CHECKING:
    from .workload import RawCrew

TICKET = struct.Struct(">Q")
HEAD = struct.Struct(">QIBI")  # sender's ticket, command number, target, arg
REJOIN_S = (0.05, 1.0)
GREETED_S = 10.0  # a WELCOME takes no longer, or another server is tried


def filler(head: bytes, size: int) -> bytes:
    """The payload expected after this head, which reveals torn or mixed payloads."""
    pattern = hashlib.blake2b(head).digest()
    return (pattern * (size // 64 + 1))[:size]


@dataclass(eq=False)
class Kept:
    """A seat that outlives its connections: its secret, and what the next connection has to know."""

    secret: bytes
    keep_ms: int
    last_seq: int = 0
    number: int = 0  # the next command's
    owed: list[int] = field(default_factory=list)  # answered by the next connection
    holder: Member | None = None  # the newest connection


class Member(Believer):
    """One connection, and the seat that it has or returns to."""

    crew: RawCrew

    def __init__(self, crew: RawCrew, ident: str, kept: Kept | None, flags: int) -> None:
        super().__init__(crew, ident)
        self.kept = kept
        self.ticket = self.rank = self.number = 0
        block = b""
        if kept is not None:
            block = resume(kept.secret, kept.keep_ms, kept.last_seq)
            secret = int.from_bytes(kept.secret)
            self.log("H", secret, kept.keep_ms, kept.last_seq, clock_ms(), kept.number)
            kept.holder, self.number = self, kept.number
            kept.number += 10_000  # a connection that is taken over may still send
        self.watches = bool(flags & WATCH)
        if self.watches:
            self.log("w")
        self.yielding: int | None = None  # the id of a YIELD without an answer
        self.outgoing = bytearray(encode(Hello(name=ident, flags=flags, resume=block)))
        self.held = bytearray()
        self.waiting: dict[int, tuple[int, set[int]]] = {}
        self.next_at = crew.now + crew.random.random()
        self.leaving = self.broken = self.asked = False
        self.ping_s = 0.0
        self.sock = socket.socket()
        self.sock.setblocking(False)
        if crew.random.random() < 0.3:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.sock.connect_ex(crew.random.choice(crew.addresses))
        self.interest = 0
        self.watch()

    def watch(self) -> None:
        """Wait for ready sockets."""
        interest = 0 if self.crew.now < self.deaf_until else selectors.EVENT_READ
        interest |= selectors.EVENT_WRITE if self.outgoing else 0
        if interest == self.interest:
            return
        if not interest:
            self.crew.selector.unregister(self.sock)
        elif self.interest:
            self.crew.selector.modify(self.sock, interest, self)
        else:
            self.crew.selector.register(self.sock, interest, self)
        self.interest = interest

    @property
    def seated(self) -> bool:
        return bool(self.ticket) and not self.leaving

    @property
    def leads(self) -> bool:
        return self.seated and not self.rank and self.yielding is None

    def expect_life(self) -> None:
        """Ping a silent server, and connect to another one if there is no answer."""
        now = self.crew.now
        if now < max(self.deaf_until, self.trickle_until):
            self.heard = now
        silent_s = now - self.heard
        if self.ping_s and silent_s > self.ping_s and not self.asked:
            self.asked = True
            self.send(Ping(b"alive?"))
        if silent_s > (3 * self.ping_s or GREETED_S):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.end("our reset")

    def send(self, *frames: Frame) -> None:
        self.outgoing += b"".join(map(encode, frames))

    def push(self) -> None:
        try:
            while self.outgoing:
                del self.outgoing[: self.sock.send(self.outgoing[: 1 << 16])]
        except BlockingIOError:
            pass
        except OSError:  # the read end would report "end of stream" from now on
            self.broken = True
            self.outgoing.clear()
        self.watch()

    def command(self, size: int | None = None) -> None:
        """Send one command to a random target; some end early, by CANCEL or with this connection."""
        if self.yielding is not None:
            return  # its ticket is about to change, and the payload carries it
        draw = self.crew.random
        target = draw.choice((*[Target.ALL] * 3, Target.NEXT, Target.LEAST, Target.ONE, Target.SET))
        arg = draw.randrange(60) if target == Target.ONE else 0
        named = b""
        if target == Target.SET:
            arg = draw.randint(1, 6)
            named = b"".join(TICKET.pack(self.ticket + n) for n in sorted(draw.sample(range(-3, 60), arg)))
        head = HEAD.pack(self.ticket, self.number, target, arg)
        size = draw.choice(SIZES) if size is None else size
        flags = draw.choice((0, 0, QUIET, RESULTS, RESULTS | QUIET)) if len(self.waiting) < 200 else 0
        if flags & RESULTS and draw.random() < 0.3:
            flags |= TIED
        ttl_ms = draw.randrange(500, 3000)
        self.send(Command(self.number, target, arg, flags, ttl_ms, named + head + filler(head, size)))
        self.log("S", self.number, int(target), flags, arg, ttl_ms, clock_ms())
        if draw.random() < 0.2:  # whether it waits or not
            self.send(Cancel(max(0, self.number - draw.choice((0, 0, 1, 3)))))
        self.number += 1

    def settle(self) -> None:
        """Ask for the sign that all answers to what it has sent have come."""
        self.send(Ping(b"settled"))

    def give_up(self) -> None:
        """Take the last place; no command until the new ticket is known."""
        if self.yielding is None:
            self.yielding = self.number
            self.send(Yield(self.number))
            self.log("Y", self.number)
            self.number += 1

    def write_baton(self) -> None:
        """Write a note for the next leader, at any rank. Only the calm delete it: none of them is killed."""
        draw = self.crew.random
        delete = self.crew.calm and draw.random() < 0.3
        note = b"" if delete else draw.randbytes(draw.choice((8, 300)))
        self.send(Write(self.number, note))
        self.log("N", self.number, zlib.crc32(note))
        self.number += 1

    def read(self) -> None:
        trickling = self.crew.now < self.trickle_until
        try:
            octets = self.sock.recv(120 if trickling else 1 << 17)
        except BlockingIOError:
            return
        except OSError:
            self.end("reset")
            return
        if trickling:
            self.deaf_until = self.crew.now + 0.1
        self.heard, self.asked = self.crew.now, False
        if not octets:
            self.end("reset" if self.broken else "eof")
            return
        self.held += octets
        at = 0
        while len(self.held) - at >= 4:
            length = int.from_bytes(self.held[at : at + 4])
            if not 1 <= length <= MAX_PAYLOAD + HEADROOM:
                self.log("V", f"a length of {length}")
                self.end("wrong")
                return
            if len(self.held) - at < 4 + length:
                break
            wire = bytes(self.held[at : at + 4 + length])
            at += 4 + length
            self.take(decode(wire), wire)
        del self.held[:at]
        self.watch()

    def take(self, frame: Frame, wire: bytes) -> None:
        match frame:
            case Execute():
                self.execute(frame, wire)
            case Rank():
                self.log("R", frame.seq, frame.rank, frame.members, frame.cause)
                self.rank = frame.rank
            case Welcome():
                self.ticket, self.rank = frame.ticket, frame.rank
                self.welcomed(frame)
            case Accepted():
                self.log("A", frame.id, frame.seq, frame.executors, frame.rejected, frame.absent)
            case Refused():
                self.log("F", frame.id, frame.code)
                if frame.id == self.yielding:
                    self.yielding = None
            case Routed():
                if frame.status != Status.PART:
                    self.log("O", frame.id, frame.ticket, frame.status)
            case Done():
                ends = (frame.ok, frame.failed, frame.rejected, frame.expired, frame.left, frame.cancelled)
                self.log("D", frame.id, *ends)
            case Members():
                states = (value for seat in frame.seats for value in (seat.ticket, seat.state))
                self.log("M", frame.seq, frame.total, *states)
            case Changed():
                self.log("W", frame.seq, frame.what, frame.ticket, frame.rank, frame.members)
            case Yielded():
                self.yielding = None
                self.ticket, self.rank = frame.ticket, frame.rank
                self.log("U", frame.id, frame.seq, frame.ticket, frame.rank, frame.members)
            case Baton():
                self.log("G", frame.seq, frame.ticket, zlib.crc32(frame.payload))
            case Ping():
                self.send(Pong(frame.opaque))
            case Pong(opaque):
                if opaque == b"settled" and not self.settled and self.ticket:
                    self.settled = True
                    self.log("Z", self.ticket, self.rank)
            case Error():
                self.log("C", frame.code)

    def welcomed(self, frame: Welcome) -> None:
        self.ping_s = frame.ping_ms / 1000
        if frame.ticket == 0:  # an observer
            self.log("B", frame.seq, frame.instance)
            self.send(Who(1, 0, 2000))
            return
        how, keep_ms = (frame.how, frame.keep_ms) if frame.resume else (0, 0)
        where = frame.ticket, frame.seq, frame.rank, frame.members
        self.log("J", *where, int(how), keep_ms, clock_ms(), frame.instance)
        if self.kept is not None:
            if how:
                self.send(*(Result(seq, Status.OK, b"late") for seq in self.kept.owed))
            self.kept.owed.clear()

    def execute(self, frame: Execute, wire: bytes) -> None:
        head = frame.payload[: HEAD.size]
        sender, number, target, arg = HEAD.unpack(head)
        if frame.payload[HEAD.size :] != filler(head, len(frame.payload) - HEAD.size):
            self.log("V", f"a torn payload in seq {frame.seq}")
        self.log("E", frame.seq, frame.sender_rank, self.rank, sender, number, target, arg, zlib.crc32(wire))
        if self.kept is not None:
            self.kept.last_seq = frame.seq
        if frame.flags and not self.leaving:
            draw = self.crew.random.random()
            if draw < 0.05:
                return  # its keep will expire
            if self.kept is not None and draw > 0.85:
                self.kept.owed.append(frame.seq)  # unless it returns, this one expires too
                return
            if draw < 0.1:
                self.send(Result(frame.seq, Status.PART, b"some"))
            self.send(Result(frame.seq, Status.FAILED if draw > 0.95 else Status.OK, b"done"))

    def end(self, how: str) -> None:
        self.stop_believing(self.crew.now)
        self.log("X", how.replace(" ", "-"), len(self.held), self.ended_ms)
        if self.interest:
            self.crew.selector.unregister(self.sock)
        self.sock.close()
        self.crew.members.remove(self)
        if self.kept is not None:
            if self.kept.holder is not self:
                return  # the newer connection is there in its place
            self.crew.seats.append(self.kept)
        self.crew.rejoin_at.append(self.crew.now + self.crew.random.uniform(*REJOIN_S))
