"""The frames that only a server sends (PROTOCOL section 2), in the manner of `client_frames`."""

from __future__ import annotations

from typing import NamedTuple

from . import layouts
from .codes import VERSION, Cause, ErrorCode, ExecuteFlag, FrameType, Status
from .fields import at_least, exact, frame, text, violation

__all__ = [
    "Accepted",
    "Done",
    "ErrorFrame",
    "Execute",
    "MemberInfo",
    "Members",
    "Rank",
    "Refused",
    "Routed",
    "Welcome",
]

_WELCOME = int(FrameType.WELCOME)


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
        return layouts.WELCOME_FRAME.pack(layouts.WELCOME_LENGTH, _WELCOME, self.version, *self[:-1], 0)

    @classmethod
    def decode(cls, body: bytes) -> Welcome:
        version, *fields, resume_size = at_least(body, layouts.WELCOME, "WELCOME")
        if version != VERSION:
            raise violation(
                f"the server speaks version {version}, this client {VERSION}", ErrorCode.UNSUPPORTED
            )
        if len(body) != layouts.WELCOME.size + resume_size:
            raise violation(f"the resume of WELCOME is not {resume_size} bytes long, as it says")
        return cls(*fields)


class Execute(NamedTuple):
    """Server to client: run this (sections 4 and 5). The same bytes for every receiver."""

    seq: int
    sender_rank: int
    flags: int
    ttl_ms: int
    payload: bytes

    def encode(self) -> bytes:
        return frame(FrameType.EXECUTE, layouts.EXECUTE.pack(*self[:4]), self.payload)

    @classmethod
    def decode(cls, body: bytes) -> Execute:
        seq, sender_rank, flags, ttl_ms = at_least(body, layouts.EXECUTE, "EXECUTE")
        if flags & ~int(ExecuteFlag.RESULT_WANTED):
            raise violation(f"EXECUTE flags {flags:#04x} set a reserved bit")
        return cls(seq, sender_rank, flags, ttl_ms, body[layouts.EXECUTE.size :])


class Rank(NamedTuple):
    """Server to client: your rank after the departures of a turn (section 4)."""

    seq: int
    rank: int
    members: int
    cause: int

    def encode(self) -> bytes:
        return frame(FrameType.RANK, layouts.RANK.pack(*self))

    @classmethod
    def decode(cls, body: bytes) -> Rank:
        frame = cls(*exact(body, layouts.RANK, "RANK"))
        if not Cause.LEFT <= frame.cause <= Cause.EVICTED:
            raise violation(f"cause {frame.cause} is not known, 1 to 3 are")
        return frame


class Accepted(NamedTuple):
    """Server to client: your command went out (section 5)."""

    id: int
    seq: int
    executors: int
    rejected: int

    def encode(self) -> bytes:
        return frame(FrameType.ACCEPTED, layouts.ACCEPTED.pack(*self))

    @classmethod
    def decode(cls, body: bytes) -> Accepted:
        return cls(*exact(body, layouts.ACCEPTED, "ACCEPTED"))


class Refused(NamedTuple):
    """Server to client: your command did not go out (section 5)."""

    id: int
    code: int
    text: str

    def encode(self) -> bytes:
        return frame(FrameType.REFUSED, layouts.REFUSED.pack(self.id, self.code), self.text.encode())

    @classmethod
    def decode(cls, body: bytes) -> Refused:
        id_, code = at_least(body, layouts.REFUSED, "REFUSED")
        return cls(id_, code, text(body[layouts.REFUSED.size :], "REFUSED"))


class Routed(NamedTuple):
    """Server to client: an executor's RESULT, or the server's word on it (section 6)."""

    id: int
    ticket: int
    rank: int
    status: int
    payload: bytes

    def encode(self) -> bytes:
        return frame(FrameType.ROUTED, layouts.ROUTED.pack(*self[:4]), self.payload)

    @classmethod
    def decode(cls, body: bytes) -> Routed:
        id_, ticket, rank, status = at_least(body, layouts.ROUTED, "ROUTED")
        if status > Status.LEFT and status != Status.PART:
            raise violation(f"status {status} is not known")
        return cls(id_, ticket, rank, status, body[layouts.ROUTED.size :])


class Done(NamedTuple):
    """Server to client: every executor of `id` has ended, so often in each way (section 6)."""

    id: int
    ok: int
    failed: int
    rejected: int
    expired: int
    left: int

    def encode(self) -> bytes:
        return frame(FrameType.DONE, layouts.DONE.pack(*self))

    @classmethod
    def decode(cls, body: bytes) -> Done:
        return cls(*exact(body, layouts.DONE, "DONE"))


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
        parts = [layouts.MEMBERS.pack(self.id, self.seq, self.total, len(self.members))]
        for rank, ticket, load, name, address in self.members:
            raw_name, raw_address = name.encode(), address.encode()
            parts += (
                layouts.MEMBER.pack(rank, ticket, load, len(raw_name)),
                raw_name,
                bytes((len(raw_address),)),
                raw_address,
            )
        return frame(FrameType.MEMBERS, *parts)

    @classmethod
    def decode(cls, body: bytes) -> Members:
        id_, seq, total, count = at_least(body, layouts.MEMBERS, "MEMBERS")
        cursor = layouts.MEMBERS.size
        members = []
        for _ in range(count):
            if len(body) < cursor + layouts.MEMBER.size:
                raise violation("a MEMBERS frame ends inside a member")
            rank, ticket, load, name_size = layouts.MEMBER.unpack_from(body, cursor)
            cursor += layouts.MEMBER.size
            name = body[cursor : cursor + name_size]
            cursor += name_size
            if len(body) <= cursor:
                raise violation("a MEMBERS frame ends inside a member")
            address_size = body[cursor]
            address = body[cursor + 1 : cursor + 1 + address_size]
            cursor += 1 + address_size
            members.append(MemberInfo(rank, ticket, load, text(name, "a name"), text(address, "an address")))
        if cursor != len(body):
            raise violation(f"the members of MEMBERS make {cursor} bytes, its body has {len(body)}")
        return cls(id_, seq, total, tuple(members))


class ErrorFrame(NamedTuple):
    """Server to client: the last frame before the server closes (section 7)."""

    code: int
    text: str

    def encode(self) -> bytes:
        return frame(FrameType.ERROR, layouts.U16.pack(self.code), self.text.encode())

    @classmethod
    def decode(cls, body: bytes) -> ErrorFrame:
        (code,) = at_least(body, layouts.U16, "ERROR")
        return cls(code, text(body[layouts.U16.size :], "ERROR"))
