"""Every frame of the wire protocol (section 2), encoded and decoded from the specification alone.

Knows bytes only: no sockets, and none of the server's code. Encoding checks nothing, so that tests can send
invalid frames; decoding is strict: exact lengths, known types, known codes, UTF-8, and no bytes left over.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_PAYLOAD = 65_536
HEADROOM = 64  # a frame's length may exceed max_payload by this much
U32_MAX = 0xFFFF_FFFF
U64_MAX = 0xFFFF_FFFF_FFFF_FFFF


class Target(IntEnum):
    ALL = 0
    ONE = 1
    NEXT = 2
    LEAST = 3
    SET = 4


class Status(IntEnum):
    OK = 0
    FAILED = 1
    REJECTED = 2
    EXPIRED = 3
    LEFT = 4
    CANCELLED = 5
    PART = 16


class Cause(IntEnum):
    LEFT = 1
    LOST = 2
    EVICTED = 3
    YIELDED = 4


class Refusal(IntEnum):
    NO_TARGET = 1
    NOT_LOWER = 2
    NO_SUCH_RANK = 3
    BUSY = 4
    DUPLICATE = 5
    TOO_BIG = 6
    ABSENT = 7
    NOT_FIRST = 8


class Code(IntEnum):
    """The codes of ERROR (section 7)."""

    PROTOCOL = 1
    TOO_BIG = 2
    UNSUPPORTED = 3
    AUTH = 4
    FULL = 5
    TIMEOUT = 6
    SLOW = 7
    SHUTDOWN = 8
    RESOURCE = 9
    KICKED = 10
    INTERNAL = 11
    TAKEN_OVER = 12


class What(IntEnum):
    """The event of a CHANGED."""

    JOINED = 1
    LEFT = 2
    LOST = 3
    EVICTED = 4
    ABSENT = 5
    BACK = 6
    YIELDED = 7


class How(IntEnum):
    """The origin of the seat, as in WELCOME's resume block."""

    NEW = 0
    RETURNED = 1


class State(IntEnum):
    """A member's state in MEMBERS."""

    PRESENT = 0
    ABSENT = 1


OBSERVE = 1  # HELLO flag, bit 0
WATCH = 2  # HELLO flag, bit 1
RESULTS = 1  # COMMAND flag, bit 0
QUIET = 2  # COMMAND flag, bit 1
TIED = 4  # COMMAND flag, bit 2
WANTED = 1  # EXECUTE flag, bit 0
NO_RANK = U32_MAX  # an observer's rank in WELCOME


class MalformedError(Exception):
    """The bytes are not a frame of the protocol."""


class Frame:
    """Base of the frames; `shape` has one letter per field.

    B H I Q: integers as in struct · s: text after a u8 length · z: bytes after a u16 length ·
    *: the remaining bytes · t: the remaining bytes as text · m: a u16 count and that many seats.
    """

    kind: ClassVar[int]
    shape: ClassVar[str]
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Hello(Frame):
    kind = 0x01
    shape = "BBszz"
    version: int = 1
    flags: int = 0
    name: str = ""
    token: bytes = b""
    resume: bytes = b""


@dataclass(frozen=True, slots=True)
class Command(Frame):
    kind = 0x02
    shape = "IBIBI*"
    id: int
    target: int = Target.ALL
    arg: int = 0
    flags: int = 0
    ttl_ms: int = 0
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Result(Frame):
    kind = 0x03
    shape = "QB*"
    seq: int
    status: int = Status.OK
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Cancel(Frame):
    kind = 0x04
    shape = "I"
    id: int


@dataclass(frozen=True, slots=True)
class Who(Frame):
    kind = 0x05
    shape = "III"
    id: int
    first_rank: int = 0
    count: int = 100


@dataclass(frozen=True, slots=True)
class Ping(Frame):
    kind = 0x06
    shape = "*"
    opaque: bytes = b""


@dataclass(frozen=True, slots=True)
class Pong(Frame):
    kind = 0x07
    shape = "*"
    opaque: bytes = b""


@dataclass(frozen=True, slots=True)
class Leave(Frame):
    kind = 0x08
    shape = ""


@dataclass(frozen=True, slots=True)
class Yield(Frame):
    kind = 0x09
    shape = "I"
    id: int


@dataclass(frozen=True, slots=True)
class Write(Frame):
    """BATON as a client sends it."""

    kind = 0x0A
    shape = "I*"
    id: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Welcome(Frame):
    kind = 0x81
    shape = "BQQQIIIIIz"
    version: int
    instance: int
    ticket: int
    seq: int
    rank: int
    members: int
    capacity: int
    max_payload: int
    ping_ms: int
    resume: bytes = b""

    @property
    def how(self) -> How:
        """Whether the seat is new or was returned to."""
        return How(self.resume[0])

    @property
    def keep_ms(self) -> int:
        """The keep that was granted."""
        return int.from_bytes(self.resume[1:])


@dataclass(frozen=True, slots=True)
class Execute(Frame):
    kind = 0x82
    shape = "QIBI*"
    seq: int
    sender_rank: int
    flags: int
    ttl_ms: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Rank(Frame):
    kind = 0x83
    shape = "QIIB"
    seq: int
    rank: int
    members: int
    cause: int


@dataclass(frozen=True, slots=True)
class Accepted(Frame):
    kind = 0x84
    shape = "IQIII"
    id: int
    seq: int
    executors: int
    rejected: int
    absent: int = 0


@dataclass(frozen=True, slots=True)
class Refused(Frame):
    kind = 0x85
    shape = "IHt"
    id: int
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Routed(Frame):
    kind = 0x86
    shape = "IQIB*"
    id: int
    ticket: int
    rank: int
    status: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Done(Frame):
    kind = 0x87
    shape = "IIIIIII"
    id: int
    ok: int = 0
    failed: int = 0
    rejected: int = 0
    expired: int = 0
    left: int = 0
    cancelled: int = 0


@dataclass(frozen=True, slots=True)
class Seat:
    """One entry of MEMBERS."""

    shape: ClassVar[str] = "IQIBss"
    rank: int
    ticket: int
    load: int
    state: int
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Members(Frame):
    kind = 0x88
    shape = "IQIm"
    id: int
    seq: int
    total: int
    seats: tuple[Seat, ...]


@dataclass(frozen=True, slots=True)
class Error(Frame):
    kind = 0x89
    shape = "Ht"
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Stop(Frame):
    """CANCEL as the server sends it."""

    kind = 0x8A
    shape = "Q"
    seq: int


@dataclass(frozen=True, slots=True)
class Yielded(Frame):
    kind = 0x8B
    shape = "IQQII"
    id: int
    seq: int
    ticket: int
    rank: int
    members: int


@dataclass(frozen=True, slots=True)
class Baton(Frame):
    """BATON as the server sends it."""

    kind = 0x8C
    shape = "QQ*"
    seq: int
    ticket: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Changed(Frame):
    kind = 0x8D
    shape = "QBQIIs"
    seq: int
    what: int
    ticket: int
    rank: int
    members: int
    name: str = ""


FRAMES: dict[int, type[Frame]] = {cls.kind: cls for cls in Frame.__subclasses__()}


def named(
    ident: int, tickets: Iterable[int], payload: bytes = b"", *, flags: int = 0, ttl_ms: int = 0
) -> Command:
    """A COMMAND to SET: the tickets, unchanged, then the payload."""
    listed = [struct.pack(">Q", ticket) for ticket in tickets]
    return Command(ident, Target.SET, len(listed), flags, ttl_ms, b"".join(listed) + payload)


def resume(secret: bytes, keep_ms: int = 60_000, last_seq: int = 0) -> bytes:
    """The resume block of a HELLO."""
    return struct.pack(">IQ", keep_ms, last_seq) + secret


def envelope(kind: int, body: bytes = b"") -> bytes:
    """The bytes of a frame of any type with any body."""
    return struct.pack(">IB", 1 + len(body), kind) + body


def encode(frame: Frame) -> bytes:
    """The bytes of a frame."""
    return envelope(frame.kind, _pack(frame.shape, frame))


def encode_all(*frames: Frame) -> bytes:
    """The bytes of several frames in a row."""
    return b"".join(map(encode, frames))


def decode(wire: bytes) -> Frame:
    """The frame encoded by exactly these bytes; raises MalformedError for anything else."""
    if len(wire) < 5 or struct.unpack_from(">I", wire)[0] != len(wire) - 4:
        raise MalformedError(f"not one whole frame: {wire[:80].hex()}")
    cls = FRAMES.get(wire[4])
    if cls is None:
        raise MalformedError(f"unknown type {wire[4]:#04x}")
    body = _Body(wire[5:], cls.__name__)
    frame = cls(*body.take(cls.shape))
    body.end()
    _verify(frame)
    return frame


def split(stream: bytes) -> Iterator[bytes]:
    """The frames of a stream, as bytes; the stream must end with a complete frame."""
    at = 0
    while at + 4 <= len(stream):
        (length,) = struct.unpack_from(">I", stream, at)
        yield stream[at : at + 4 + length]
        at += 4 + length
    if at != len(stream):
        raise MalformedError("the stream ends inside a frame")


def _pack(shape: str, thing: Any) -> bytes:
    parts: list[bytes] = []
    for code, field in zip(shape, fields(thing), strict=True):
        value = getattr(thing, field.name)
        if code in "BHIQ":
            parts.append(struct.pack(">" + code, value))
        elif code == "s":
            text = value.encode()
            parts.append(struct.pack(">B", len(text)) + text)
        elif code == "z":
            parts.append(struct.pack(">H", len(value)) + value)
        elif code == "m":
            parts.append(struct.pack(">H", len(value)))
            parts.extend(_pack(Seat.shape, seat) for seat in value)
        else:
            parts.append(value.encode() if code == "t" else value)
    return b"".join(parts)


class _Body:
    """A cursor over one frame's body."""

    def __init__(self, octets: bytes, owner: str) -> None:
        self._octets = octets
        self._owner = owner
        self._at = 0

    def take(self, shape: str) -> list[Any]:
        return [self._one(code) for code in shape]

    def end(self) -> None:
        if self._at != len(self._octets):
            raise MalformedError(f"{self._owner}: {len(self._octets) - self._at} bytes too many")

    def _one(self, code: str) -> Any:
        if code in "BHIQ":
            return self._integer(code)
        if code == "s":
            return self._text(self._bytes(self._integer("B")))
        if code == "z":
            return self._bytes(self._integer("H"))
        if code == "m":
            return tuple(Seat(*self.take(Seat.shape)) for _ in range(self._integer("H")))
        rest = self._bytes(len(self._octets) - self._at)
        return self._text(rest) if code == "t" else rest

    def _integer(self, code: str) -> int:
        return int.from_bytes(self._bytes(struct.calcsize(">" + code)), "big")

    def _bytes(self, count: int) -> bytes:
        piece = self._octets[self._at : self._at + count]
        if len(piece) != count:
            raise MalformedError(f"{self._owner}: the body is too short")
        self._at += count
        return piece

    def _text(self, octets: bytes) -> str:
        try:
            return octets.decode("utf-8", "strict")
        except UnicodeDecodeError as error:
            raise MalformedError(f"{self._owner}: text that is not UTF-8") from error


def _verify(frame: Frame) -> None:
    """Check the values of a frame from the server."""
    match frame:
        case Ping(opaque) | Pong(opaque):
            sound = len(opaque) <= 64
        case Welcome():
            sound = frame.version == 1 and frame.capacity >= 1 and _resume_is_sound(frame)
            if frame.ticket == 0:  # an observer
                sound = sound and frame.rank == NO_RANK and not frame.resume
            else:
                sound = sound and frame.rank < frame.members
        case Execute():
            sound = frame.flags & ~WANTED == 0
        case Rank():
            sound = frame.rank < frame.members and frame.cause in set(Cause)
        case Refused():
            sound = frame.code in set(Refusal)
        case Routed():
            sound = frame.status in set(Status)
        case Members():
            sound = {seat.state for seat in frame.seats} <= set(State)
            ranks = [seat.rank for seat in frame.seats]
            tickets = [seat.ticket for seat in frame.seats]
            sound = sound and all(rank < frame.total for rank in ranks) and tickets == sorted(set(tickets))
            sound = sound and ranks == list(range(ranks[0], ranks[0] + len(ranks)) if ranks else ())
        case Error():
            sound = frame.code in set(Code)
        case Yielded():
            sound = frame.rank < frame.members
        case Changed():
            sound = frame.what in set(What) and frame.ticket > 0 and frame.seq > 0
            sound = sound and (frame.what != What.JOINED or frame.rank < frame.members)
        case _:
            sound = True
    if not sound:
        raise MalformedError(f"not a value the page knows: {frame!r:.300}")


def _resume_is_sound(welcome: Welcome) -> bool:
    return not welcome.resume or (len(welcome.resume) == 5 and welcome.resume[0] in set(How))
