"""The wire of rankmux, version 1: the layout of every frame (PROTOCOL sections 2 to 7).

One class a frame: `encode()` gives the whole frame, its length included; `decode(body)` takes the body behind the type
byte and raises `ProtocolViolation` with the code that an ERROR would carry. Nothing here knows a socket, a clock, a
member or how a stream is cut into frames.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple, Protocol

from .codes import (
    CLIENT_STATUSES,
    NAME_MAX_BYTES,
    PING_MAX_BYTES,
    TOKEN_MAX_BYTES,
    VERSION,
    Cause,
    CommandFlag,
    ErrorCode,
    ExecuteFlag,
    FrameType,
    Status,
    Target,
)
from .errors import ProtocolViolation

__all__ = [
    "Accepted",
    "Command",
    "Done",
    "ErrorFrame",
    "Execute",
    "Frame",
    "Hello",
    "Leave",
    "MemberInfo",
    "Members",
    "Ping",
    "Pong",
    "Rank",
    "Refused",
    "Result",
    "Routed",
    "Welcome",
    "Who",
    "decode",
    "valid_name",
]

_HEAD = Struct("!IB")
_HELLO_HEAD = Struct("!BBB")
_HELLO_MIN_BYTES = 7
_U16 = Struct("!H")
_COMMAND = Struct("!IBIBI")
_RESULT = Struct("!QB")
_WHO = Struct("!III")
_WELCOME = Struct("!BQQQIIIIIH")
_WELCOME_FRAME = Struct("!IB" + _WELCOME.format[1:])
_EXECUTE = Struct("!QIBI")
_RANK = Struct("!QIIB")
_ACCEPTED = Struct("!IQII")
_REFUSED = Struct("!IH")
_ROUTED = Struct("!IQIB")
_DONE = Struct("!IIIIII")
_MEMBERS = Struct("!IQIH")
_MEMBER = Struct("!IQIB")

_COMMAND_FLAGS = CommandFlag.RESULTS | CommandFlag.QUIET


def _frame(type_: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return _HEAD.pack(len(body) + 1, type_) + body


def _violation(text: str, code: ErrorCode = ErrorCode.PROTOCOL) -> ProtocolViolation:
    return ProtocolViolation(code, text)


def _exact(body: bytes, layout: Struct, name: str) -> tuple[int, ...]:
    if len(body) != layout.size:
        raise _violation(f"a {name} body is {layout.size} bytes, this one {len(body)}")
    return layout.unpack(body)


def _at_least(body: bytes, layout: Struct, name: str) -> tuple[int, ...]:
    if len(body) < layout.size:
        raise _violation(f"a {name} body is at least {layout.size} bytes, this one {len(body)}")
    return layout.unpack_from(body)


def _text(body: bytes, name: str) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise _violation(f"the text of {name} is not UTF-8") from None


def valid_name(name: str) -> bool:
    """Whether `name` may stand in HELLO: 0 to 64 bytes of printable text (section 3)."""
    return len(name.encode("utf-8", "surrogatepass")) <= NAME_MAX_BYTES and name.isprintable()


class Frame(Protocol):
    """What all frame classes can do."""

    def encode(self) -> bytes:
        """The whole frame: length, type, body."""


class Hello(NamedTuple):
    """Client to server: let me in (section 3.1)."""

    name: str = ""
    token: bytes = b""
    version: int = VERSION
    flags: int = 0
    resume: bytes = b""

    def encode(self) -> bytes:
        name = self.name.encode()
        return _frame(
            FrameType.HELLO,
            _HELLO_HEAD.pack(self.version, self.flags, len(name)),
            name,
            _U16.pack(len(self.token)),
            self.token,
            _U16.pack(len(self.resume)),
            self.resume,
        )

    @classmethod
    def decode(cls, body: bytes) -> Hello:
        """Judges the version first: another version may be laid out in another way."""
        size = len(body)
        if size and body[0] != VERSION:
            raise _violation(f"version {body[0]} is not spoken here, {VERSION} is", ErrorCode.UNSUPPORTED)
        if size < _HELLO_MIN_BYTES:
            raise _violation(f"a HELLO body is at least {_HELLO_MIN_BYTES} bytes, this one {size}")
        version, flags, name_size = body[0], body[1], body[2]
        token_at = 3 + name_size
        resume_at = token_at + 2 + int.from_bytes(body[token_at : token_at + 2])
        if resume_at + 2 + int.from_bytes(body[resume_at : resume_at + 2]) != size:
            raise _violation(f"the lengths of HELLO's fields do not make up its body of {size} bytes")
        if name_size > NAME_MAX_BYTES:
            raise _violation(f"a name is at most {NAME_MAX_BYTES} bytes, this one {name_size}")
        name = _text(body[3:token_at], "a name")
        if not name.isprintable():
            raise _violation("a name is printable text without control characters")
        token, resume = body[token_at + 2 : resume_at], body[resume_at + 2 :]
        if len(token) > TOKEN_MAX_BYTES:
            raise _violation(f"a token is at most {TOKEN_MAX_BYTES} bytes, this one {len(token)}")
        if flags:
            raise _violation(f"HELLO flags {flags:#04x} are not known, 0 is expected", ErrorCode.UNSUPPORTED)
        if resume:
            raise _violation("resuming is not offered, an empty resume is expected", ErrorCode.UNSUPPORTED)
        return cls(name, token, version, flags, resume)


class Command(NamedTuple):
    """Client to server: have this executed by `target` (section 5)."""

    id: int
    target: int
    arg: int
    flags: int
    ttl_ms: int
    payload: bytes

    def encode(self) -> bytes:
        return _frame(
            FrameType.COMMAND,
            _COMMAND.pack(self.id, self.target, self.arg, self.flags, self.ttl_ms),
            self.payload,
        )

    @classmethod
    def decode(cls, body: bytes) -> Command:
        id_, target, arg, flags, ttl_ms = _at_least(body, _COMMAND, "COMMAND")
        if target > Target.LEAST:
            raise _violation(f"target {target} is not known, 0 to 3 are")
        if arg and target != Target.ONE:
            raise _violation(f"the arg of {Target(target).name} is 0, this one {arg}")
        if flags & ~int(_COMMAND_FLAGS):
            raise _violation(f"COMMAND flags {flags:#04x} set a reserved bit")
        return cls(id_, target, arg, flags, ttl_ms, body[_COMMAND.size :])


class Result(NamedTuple):
    """Client to server: what came of the EXECUTE `seq` (section 6)."""

    seq: int
    status: int
    payload: bytes

    def encode(self) -> bytes:
        return _frame(FrameType.RESULT, _RESULT.pack(self.seq, self.status), self.payload)

    @classmethod
    def decode(cls, body: bytes) -> Result:
        seq, status = _at_least(body, _RESULT, "RESULT")
        if status not in CLIENT_STATUSES:
            raise _violation(f"status {status} is not one that a client sends (0, 1, 2, 16)")
        return cls(seq, status, body[_RESULT.size :])


class Who(NamedTuple):
    """Client to server: list `count` members from `first_rank` on (section 2)."""

    id: int
    first_rank: int
    count: int

    def encode(self) -> bytes:
        return _frame(FrameType.WHO, _WHO.pack(*self))

    @classmethod
    def decode(cls, body: bytes) -> Who:
        return cls(*_exact(body, _WHO, "WHO"))


class _Opaque(NamedTuple):
    payload: bytes


class Ping(_Opaque):
    """Both ways: are you there? 0 to 64 opaque bytes (section 3.5)."""

    __slots__ = ()

    def encode(self) -> bytes:
        return _frame(FrameType.PING, self.payload)

    @classmethod
    def decode(cls, body: bytes) -> Ping:
        if len(body) > PING_MAX_BYTES:
            raise _violation(f"a PING holds at most {PING_MAX_BYTES} bytes, this one {len(body)}")
        return cls(body)


class Pong(_Opaque):
    """Both ways: the bytes of the PING back (section 3.5)."""

    __slots__ = ()

    def encode(self) -> bytes:
        return _frame(FrameType.PONG, self.payload)

    @classmethod
    def decode(cls, body: bytes) -> Pong:
        if len(body) > PING_MAX_BYTES:
            raise _violation(f"a PONG holds at most {PING_MAX_BYTES} bytes, this one {len(body)}")
        return cls(body)


class Leave(NamedTuple):
    """Client to server: I go, cleanly (section 3.4)."""

    def encode(self) -> bytes:
        return _frame(FrameType.LEAVE)

    @classmethod
    def decode(cls, body: bytes) -> Leave:
        if body:
            raise _violation(f"a LEAVE has no body, this one {len(body)} bytes")
        return cls()


class Welcome(NamedTuple):
    """Server to client: you hold a seat (section 3.2)."""

    instance: int
    ticket: int
    seq: int
    rank: int
    members: int
    capacity: int
    max_payload: int
    ping_ms: int
    version: int = VERSION

    def encode(self) -> bytes:
        return _WELCOME_FRAME.pack(_WELCOME.size + 1, FrameType.WELCOME, self.version, *self[:-1], 0)

    @classmethod
    def decode(cls, body: bytes) -> Welcome:
        version, *fields, resume_size = _at_least(body, _WELCOME, "WELCOME")
        if version != VERSION:
            raise _violation(f"the server speaks version {version}, this client {VERSION}", ErrorCode.UNSUPPORTED)
        if len(body) != _WELCOME.size + resume_size:
            raise _violation(f"the resume of WELCOME is not {resume_size} bytes long, as it says")
        return cls(*fields, version)


class Execute(NamedTuple):
    """Server to client: run this (sections 4 and 5). The same bytes for every receiver."""

    seq: int
    sender_rank: int
    flags: int
    ttl_ms: int
    payload: bytes

    def encode(self) -> bytes:
        return _frame(FrameType.EXECUTE, _EXECUTE.pack(*self[:4]), self.payload)

    @classmethod
    def decode(cls, body: bytes) -> Execute:
        seq, sender_rank, flags, ttl_ms = _at_least(body, _EXECUTE, "EXECUTE")
        if flags & ~int(ExecuteFlag.RESULT_WANTED):
            raise _violation(f"EXECUTE flags {flags:#04x} set a reserved bit")
        return cls(seq, sender_rank, flags, ttl_ms, body[_EXECUTE.size :])


class Rank(NamedTuple):
    """Server to client: your rank after the departures of a turn (section 4)."""

    seq: int
    rank: int
    members: int
    cause: int

    def encode(self) -> bytes:
        return _frame(FrameType.RANK, _RANK.pack(*self))

    @classmethod
    def decode(cls, body: bytes) -> Rank:
        frame = cls(*_exact(body, _RANK, "RANK"))
        if not Cause.LEFT <= frame.cause <= Cause.EVICTED:
            raise _violation(f"cause {frame.cause} is not known, 1 to 3 are")
        return frame


class Accepted(NamedTuple):
    """Server to client: your command went out (section 5)."""

    id: int
    seq: int
    executors: int
    rejected: int

    def encode(self) -> bytes:
        return _frame(FrameType.ACCEPTED, _ACCEPTED.pack(*self))

    @classmethod
    def decode(cls, body: bytes) -> Accepted:
        return cls(*_exact(body, _ACCEPTED, "ACCEPTED"))


class Refused(NamedTuple):
    """Server to client: your command did not go out (section 5)."""

    id: int
    code: int
    text: str

    def encode(self) -> bytes:
        return _frame(FrameType.REFUSED, _REFUSED.pack(self.id, self.code), self.text.encode())

    @classmethod
    def decode(cls, body: bytes) -> Refused:
        id_, code = _at_least(body, _REFUSED, "REFUSED")
        return cls(id_, code, _text(body[_REFUSED.size :], "REFUSED"))


class Routed(NamedTuple):
    """Server to client: an executor's RESULT, or the server's word on it (section 6)."""

    id: int
    ticket: int
    rank: int
    status: int
    payload: bytes

    def encode(self) -> bytes:
        return _frame(FrameType.ROUTED, _ROUTED.pack(*self[:4]), self.payload)

    @classmethod
    def decode(cls, body: bytes) -> Routed:
        id_, ticket, rank, status = _at_least(body, _ROUTED, "ROUTED")
        if status > Status.LEFT and status != Status.PART:
            raise _violation(f"status {status} is not known")
        return cls(id_, ticket, rank, status, body[_ROUTED.size :])


class Done(NamedTuple):
    """Server to client: every executor of `id` has ended, so often in each way (section 6)."""

    id: int
    ok: int
    failed: int
    rejected: int
    expired: int
    left: int

    def encode(self) -> bytes:
        return _frame(FrameType.DONE, _DONE.pack(*self))

    @classmethod
    def decode(cls, body: bytes) -> Done:
        return cls(*_exact(body, _DONE, "DONE"))


class MemberInfo(NamedTuple):
    """One line of MEMBERS."""

    rank: int
    ticket: int
    load: int
    name: str
    address: str


class Members(NamedTuple):
    """Server to client: a page of the room as of `seq`; `total` counts all members (section 2)."""

    id: int
    seq: int
    total: int
    members: tuple[MemberInfo, ...]

    def encode(self) -> bytes:
        parts = [_MEMBERS.pack(self.id, self.seq, self.total, len(self.members))]
        for rank, ticket, load, name, address in self.members:
            raw_name, raw_address = name.encode(), address.encode()
            parts += (_MEMBER.pack(rank, ticket, load, len(raw_name)), raw_name, bytes((len(raw_address),)), raw_address)
        return _frame(FrameType.MEMBERS, *parts)

    @classmethod
    def decode(cls, body: bytes) -> Members:
        id_, seq, total, count = _at_least(body, _MEMBERS, "MEMBERS")
        cursor = _MEMBERS.size
        members = []
        for _ in range(count):
            if len(body) < cursor + _MEMBER.size:
                raise _violation("a MEMBERS frame ends inside a member")
            rank, ticket, load, name_size = _MEMBER.unpack_from(body, cursor)
            cursor += _MEMBER.size
            name = body[cursor : cursor + name_size]
            cursor += name_size
            if len(body) <= cursor:
                raise _violation("a MEMBERS frame ends inside a member")
            address_size = body[cursor]
            address = body[cursor + 1 : cursor + 1 + address_size]
            cursor += 1 + address_size
            members.append(MemberInfo(rank, ticket, load, _text(name, "a name"), _text(address, "an address")))
        if cursor != len(body):
            raise _violation(f"the members of MEMBERS make {cursor} bytes, its body has {len(body)}")
        return cls(id_, seq, total, tuple(members))


class ErrorFrame(NamedTuple):
    """Server to client: the last frame before the server closes (section 7)."""

    code: int
    text: str

    def encode(self) -> bytes:
        return _frame(FrameType.ERROR, _U16.pack(self.code), self.text.encode())

    @classmethod
    def decode(cls, body: bytes) -> ErrorFrame:
        (code,) = _at_least(body, _U16, "ERROR")
        return cls(code, _text(body[_U16.size :], "ERROR"))


_DECODERS = {
    FrameType.HELLO: Hello,
    FrameType.COMMAND: Command,
    FrameType.RESULT: Result,
    FrameType.WHO: Who,
    FrameType.PING: Ping,
    FrameType.PONG: Pong,
    FrameType.LEAVE: Leave,
    FrameType.WELCOME: Welcome,
    FrameType.EXECUTE: Execute,
    FrameType.RANK: Rank,
    FrameType.ACCEPTED: Accepted,
    FrameType.REFUSED: Refused,
    FrameType.ROUTED: Routed,
    FrameType.DONE: Done,
    FrameType.MEMBERS: Members,
    FrameType.ERROR: ErrorFrame,
}


def decode(type_: int, body: bytes, allowed: frozenset[FrameType]) -> Frame:
    """The frame of `type_` with `body`; UNSUPPORTED when the type is not one of `allowed` (section 3.3)."""
    if type_ not in allowed:
        raise _violation(f"frame type {type_:#04x} is unknown, reserved or of the other direction", ErrorCode.UNSUPPORTED)
    return _DECODERS[FrameType(type_)].decode(body)
