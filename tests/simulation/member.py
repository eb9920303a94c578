"""One connection of a simulated client: what it sends, what it makes of what it gets, and a line for the judge of each.

The lines are those of `tests.faults.logs`. Payloads say whose command they are, and results whose answer to what, so
that whoever gets one can tell whether it is right.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rankmux.codes import SERVER_FRAMES, CommandFlag, ErrorCode, HelloFlag, Status, Target
from rankmux.wire import (
    Accepted,
    Baton,
    Cancel,
    Changed,
    Command,
    Done,
    ErrorFrame,
    Execute,
    Hello,
    Keep,
    Leave,
    Members,
    Ping,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
    SetBaton,
    Welcome,
    Who,
    Yield,
    Yielded,
    decode,
)

from .judge import Reign
from .network import End

if TYPE_CHECKING:
    from .crew import Client

__all__ = ["Kept", "Member"]

TICKET = struct.Struct(">Q")
HEAD = struct.Struct(">QIBI")  # of a command: the sender's ticket, its number, target, arg
ANSWER = struct.Struct(">QQ")  # of a result: the executor's ticket, the seq
SIZES = (0, 10, 40, 40, 200, 1500)
OBSERVER = int(HelloFlag.OBSERVE)


@dataclass(eq=False)
class Kept:
    """A seat that outlives its connections: its secret, and what the next connection has to know."""

    secret: bytes
    keep_ms: int
    last_seq: int = 0
    number: int = 0  # the next command's
    owed: list[int] = field(default_factory=list)  # answered by the next connection
    holder: Member | None = None  # the newest connection


def filler(head: bytes, size: int) -> bytes:
    """What follows a command's head: torn or mixed payloads do not fit."""
    return (zlib.crc32(head).to_bytes(4) * (size // 4 + 1))[:size]


class Member:
    """A connection of `client`; `kept` is the seat that it asks for."""

    def __init__(self, client: Client, end: End, ident: str, kept: Kept | None, flags: int) -> None:
        self.client, self.crew, self.world = client, client.crew, client.crew.world
        self.ident, self.kept, self.end = ident, kept, end
        self.ticket = self.rank = self.number = 0
        self.flags, self.node = flags, client.node
        self.crew.servers[ident] = self.node.name
        self.patient = bool(flags & OBSERVER) and len(self.crew.nodes) == 1
        self.welcome = False
        self.leaving = self.settled = self.over = False
        self.yielding: int | None = None  # the id of a YIELD without an answer
        self.deaf_until = 0.0
        self.reign: float | None = None  # since when it holds rank 0, if it does
        self._reigned: Reign | None = None  # the last time
        self._heard_at = self._pinged_at = self.world.now
        self._outgoing = bytearray()
        self._held = bytearray()
        self._taken = 0  # bytes of the stream, all in all
        self._waits: dict[int, int] = {}  # the seq by the number of a command with results
        keep = None
        if kept is not None:
            keep = Keep(kept.keep_ms, kept.last_seq, kept.secret)
            secret = int.from_bytes(kept.secret)
            self.note("H", secret, kept.keep_ms, kept.last_seq, self.world.now_ms, kept.number)
            kept.holder, self.number = self, kept.number
            kept.number += 10_000  # a connection that is taken over may still send
        if flags & HelloFlag.WATCH:
            self.note("w")
        end.notify = self.look
        self.send(Hello(ident, flags=flags, keep=keep))

    @property
    def seated(self) -> bool:
        """Whether it has a seat, and wants it."""
        return bool(self.ticket) and not self.leaving and not self.over

    def note(self, kind: str, *values: object) -> None:
        if self.world.traced:
            self.world.trace(self.ident, f"{kind} {' '.join(map(str, values))}")
        self.crew.history.note(self.ident, kind, *values)

    # What it does.

    def command(self, size: int | None = None) -> None:
        """Send a command to a target that is drawn; some are cancelled at once."""
        if self.yielding is not None:
            return  # its ticket is about to change, and the payload carries it
        draw = self.world.random
        target = draw.choice((*[Target.ALL] * 3, Target.NEXT, Target.LEAST, Target.ONE, Target.SET))
        arg, named = draw.randrange(12) if target == Target.ONE else 0, b""
        if target == Target.SET:
            arg = draw.randint(1, 5)
            tickets = sorted(draw.sample(range(max(1, self.ticket - 3), self.ticket + 20), arg))
            named = b"".join(map(TICKET.pack, tickets))
        head = HEAD.pack(self.ticket, self.number, target, arg)
        flags = draw.choice((0, 0, CommandFlag.QUIET, 1, 1, CommandFlag.QUIET | 1))
        if flags & 1 and draw.random() < 0.3:
            flags |= CommandFlag.TIED
        ttl_ms = draw.randrange(500, 3000)
        payload = named + head + filler(head, draw.choice(SIZES) if size is None else size)
        self.send(Command(self.number, target, arg, int(flags), ttl_ms, payload))
        self.note("S", self.number, int(target), int(flags), arg, ttl_ms, self.world.now_ms)
        if draw.random() < 0.15:  # whether it waits or not
            self.send(Cancel(max(0, self.number - draw.choice((0, 0, 1, 3)))))
        self.number += 1

    def give_up(self) -> None:
        """Take the last place. Whoever asks for it does not lead any more, unless it is refused."""
        if self.yielding is None:
            self.yielding = self.number
            self.send(Yield(self.number))
            self.note("Y", self.number)
            self.number += 1
            self.abdicate(self.world.now)

    def write_baton(self) -> None:
        """Write a note for the next leader, at any rank."""
        note = self.world.random.randbytes(8)
        self.send(SetBaton(self.number, note))
        self.note("N", self.number, zlib.crc32(note))
        self.number += 1

    def leave(self) -> None:
        self.abdicate(self.world.now)
        self.send(Leave())
        self.note("L", self.number)
        self.leaving = True

    def half_close(self) -> None:
        """End the own half of the stream, behind whole frames."""
        if self._outgoing:
            return
        self.abdicate(self.world.now)
        try:
            self.end.shutdown()
        except OSError:
            return
        self.note("L", self.number)
        self.leaving = True

    def garbage(self) -> None:
        self._outgoing += self.world.random.randbytes(self.world.random.randrange(1, 200))
        self.push()

    def settle(self) -> None:
        """The answer tells that everything before it has come."""
        self.deaf_until = 0.0
        self.send(Ping(b"settled"))
        if self.flags & OBSERVER:
            self.send(Who(1, 0, 2000))

    def list_members(self) -> None:
        self.send(Who(1, 0, 2000))

    def check_life(self) -> None:
        """Send a PING if nothing came for a while; give up when nothing comes at all."""
        now, ping_s = self.world.now, self.crew.ping_s
        if now - self._heard_at > 3 * ping_s and now >= self.deaf_until and not self.patient:
            self.end.close(reset=True)
            self.finish("our-reset", self._heard_at, self._heard_at)  # the end may be on its way
        elif now - max(self._heard_at, self._pinged_at) > ping_s:
            self._pinged_at = now
            self.send(Ping(b""))

    def drop(self, how: str) -> None:
        """End the connection with a reset."""
        ended_at = min(self.world.now, self.end.incoming.ends_at)  # its server may have been first
        self.end.close(reset=True)
        self.finish(how, ended_at, ended_at)

    # The stream.

    def send(self, *frames: object) -> None:
        self._outgoing += b"".join(frame.encode() for frame in frames)  # type: ignore[attr-defined]
        self.push()

    def push(self) -> None:
        try:
            while self._outgoing and not self.end.shut and not self.over:
                del self._outgoing[: self.end.send(bytes(self._outgoing))]
        except BlockingIOError:
            pass
        except OSError:  # reading on shows how it ended
            self._outgoing.clear()

    def look(self) -> None:
        """The connection may be ready."""
        if self.over or self.client.stopped or self.world.now < self.deaf_until:
            return
        self.push()
        try:
            while data := self.end.receive(1 << 16):
                self._taken += len(data)
                self._heard_at = self.world.now
                self._held += data
                self._cut_frames()
                if self.over:
                    return
        except BlockingIOError:
            return
        except OSError:
            self.end.close()
            self._ended("reset")
            return
        self.end.close()
        self._ended("eof")

    def _ended(self, how: str) -> None:
        sent_at = self.end.incoming.end_sent_at
        if how == "eof" and self.world.now < self.client.cut_until + 6.0:
            how = "reset"  # the server may have given up before it got everything
        self.finish(how, sent_at, sent_at)

    def _cut_frames(self) -> None:
        held, at = self._held, 0
        begin = self._taken - len(held)
        marks = self.end.incoming.sent_at
        while len(held) - at >= 4:
            length = int.from_bytes(held[at : at + 4])
            if len(held) - at < 4 + length:
                break
            kind, body = held[at + 4], bytes(held[at + 5 : at + 4 + length])
            at += 4 + length
            while marks[0][0] < begin + at:
                marks.popleft()
            self._take(decode(kind, body, SERVER_FRAMES), marks[0][1])
            if self.over:
                return
        del held[:at]

    def finish(self, how: str, ended_at: float, lost_at: float) -> None:
        """It is over; `lost_at`: the server may have known since then."""
        if self.over:
            return
        self.abdicate(ended_at)
        self.over = True
        self.note("X", how, len(self._held), int(lost_at * 1000))
        self.client.lost(self, how)

    # Rank 0, as its server has said it.

    def crown(self, at: float) -> None:
        if self.reign is None and self.yielding is None and not self.leaving:
            self.reign = at

    def abdicate(self, at: float) -> None:
        if self.reign is not None:
            self._reigned, self.reign = self.crew.reigns.add(self, self.reign, at), None
        elif self._reigned is not None:  # its server had ended it before
            self._reigned.end = min(self._reigned.end, at)

    # What it gets.

    def _take(self, frame: object, sent_at: float) -> None:
        match frame:
            case Execute():
                self._execute(frame)
            case Rank():
                self.note("R", frame.seq, frame.rank, frame.members, frame.cause)
                self._ranked(frame.rank, sent_at)
            case Welcome():
                self._welcomed(frame, sent_at)
            case Accepted():
                self.note("A", *frame)
                self._waits[frame.id] = frame.seq
            case Refused():
                self.note("F", frame.id, frame.code)
                if frame.id == self.yielding:
                    self.yielding = None
                    self._ranked(self.rank, self.world.now)
            case Routed():
                self._routed(frame)
            case Done():
                self.note("D", *frame)
            case Members():
                states = (value for seat in frame.members for value in (seat.ticket, int(seat.absent)))
                self.note("M", frame.seq, frame.total, *states)
            case Changed():
                self.note("W", *frame[:5])
            case Yielded():
                self.yielding = None
                self.ticket = frame.ticket
                self.note("U", frame.id, frame.seq, frame.ticket, frame.rank, frame.members)
                self._ranked(frame.rank, sent_at)
            case Baton():
                self.note("G", frame.seq, frame.ticket, zlib.crc32(frame.payload))
            case Ping():
                self.send(Pong(frame.payload))
            case Pong(b"settled"):
                if not self.settled and self.ticket:
                    self.settled = True
                    self.note("Z", self.ticket, self.rank)
            case ErrorFrame():
                self.abdicate(sent_at)
                self.note("C", frame.code)
                self.client.turned_away(ErrorCode(frame.code))

    def _ranked(self, rank: int, at: float) -> None:
        self.rank = rank
        if rank:
            self.abdicate(at)
        else:
            self.crown(at)

    def _welcomed(self, frame: Welcome, sent_at: float) -> None:
        self.welcome = True
        self.client.welcomed()
        if not frame.ticket:
            self.note("B", frame.seq, frame.instance)
            self.send(Who(1, 0, 2000))
            return
        self.ticket = frame.ticket
        where = frame.ticket, frame.seq, frame.rank, frame.members
        keep_ms = frame.keep_ms or 0
        self.note("J", *where, int(frame.returned), keep_ms, self.world.now_ms, frame.instance)
        self._ranked(frame.rank, sent_at)
        if self.kept is not None:
            if frame.returned:
                self.send(*(Result(seq, Status.OK, self._answer(seq)) for seq in self.kept.owed))
            self.kept.owed.clear()

    def _answer(self, seq: int) -> bytes:
        return ANSWER.pack(self.ticket, seq)

    def _execute(self, frame: Execute) -> None:
        head = frame.payload[: HEAD.size]
        sender, number, target, arg = HEAD.unpack(head)
        if frame.payload[HEAD.size :] != filler(head, len(frame.payload) - HEAD.size):
            self.crew.history.violate(f"{self.ident}: a torn payload in seq {frame.seq}")
        crc = zlib.crc32(frame.payload)
        self.note("E", frame.seq, frame.sender_rank, self.rank, sender, number, target, arg, crc)
        if self.kept is not None:
            self.kept.last_seq = frame.seq
        if frame.flags and not self.leaving:
            draw = self.world.random.random()
            if draw < 0.05:
                return  # it will expire
            if self.kept is not None and draw > 0.85:
                self.kept.owed.append(frame.seq)  # unless it returns, this one expires too
                return
            if draw < 0.1:
                self.send(Result(frame.seq, Status.PART, self._answer(frame.seq)))
            status = Status.FAILED if draw > 0.8 else Status.OK
            self.send(Result(frame.seq, status, self._answer(frame.seq)))

    def _routed(self, frame: Routed) -> None:
        if frame.payload:
            ticket, seq = ANSWER.unpack(frame.payload)
            wanted = self._waits.get(frame.id, seq)
            if (ticket, seq) != (frame.ticket, wanted):
                self.crew.history.violate(
                    f"{self.ident}: the answer of {ticket} to {seq} came for command {frame.id}, seq {wanted}, "
                    f"as that of {frame.ticket}"
                )
        if frame.status != Status.PART:
            self.note("O", frame.id, frame.ticket, frame.status)
