"""The frames that only a server sends (PROTOCOL section 2), in the manner of `client_frames`."""

from __future__ import annotations

from typing import NamedTuple

from . import layouts
from .codes import VERSION, Cause, Change, ErrorCode, ExecuteFlag, FrameType, Presence, Status
from .fields import at_least, exact, frame, text, violation

__all__ = [
    "Accepted",
    "Baton",
    "Changed",
    "Done",
    "ErrorFrame",
    "Execute",
    "MemberInfo",
    "Members",
    "Rank",
    "Refused",
    "Routed",
    "Stop",
    "Welcome",
    "Yielded",
]

_WELCOME = int(FrameType.WELCOME)


class Welcome(NamedTuple):
    """Server to client: you hold a seat, or may look on (section 3.2).

    `returned` says whether it is the seat that was kept (section 9), `keep_ms` for how long it is kept; None when no
    keep was asked for.
    """

    instance: int
    ticket: int
    seq: int
    rank: int
    members: int
    capacity: int
    max_payload: int
    ping_ms: int
    returned: bool = False
    keep_ms: int | None = None

    def encode(self) -> bytes:
        resume = b"" if self.keep_ms is None else layouts.WELCOME_KEEP.pack(self.returned, self.keep_ms)
        size = layouts.WELCOME_LENGTH + len(resume)
        return layouts.WELCOME_FRAME.pack(size, _WELCOME, VERSION, *self[:8], len(resume)) + resume

    @classmethod
    def decode(cls, body: bytes) -> Welcome:
        version, instance, ticket, seq, *room, resume_size = at_least(body, layouts.WELCOME, "WELCOME")
        if version != VERSION:
            raise violation(
                f"the server speaks version {version}, this client {VERSION}", ErrorCode.UNSUPPORTED
            )
        if len(body) != layouts.WELCOME.size + resume_size:
            raise violation(f"the resume of WELCOME is not {resume_size} bytes long, as it says")
        welcome = cls(instance, ticket, seq, *room)  # type: ignore[arg-type]
        if not resume_size:
            return welcome
        how, keep_ms = exact(body[layouts.WELCOME.size :], layouts.WELCOME_KEEP, "WELCOME's resume")
        if how > 1:
            raise violation(f"the resume of WELCOME says {how}, 0 and 1 are known")
        return welcome._replace(returned=bool(how), keep_ms=keep_ms)


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
        if not Cause.LEFT <= frame.cause <= Cause.YIELDED:
            raise violation(f"cause {frame.cause} is not known, 1 to 4 are")
        return frame


class Accepted(NamedTuple):
    """Server to client: your command went out, or your baton is written (section 5)."""

    id: int
    seq: int
    executors: int
    rejected: int
    absent: int = 0

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
        if status > Status.CANCELLED and status != Status.PART:
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
    cancelled: int = 0

    def encode(self) -> bytes:
        return frame(FrameType.DONE, layouts.DONE.pack(*self))

    @classmethod
    def decode(cls, body: bytes) -> Done:
        return cls(*exact(body, layouts.DONE, "DONE"))


class MemberInfo(NamedTuple):
    """A listed member (section 2). `load` is the number of its open commands, `absent` tells that its seat is kept.

    `name` is empty where the member has given none.
    """

    rank: int
    ticket: int
    load: int
    name: str
    address: str
    absent: bool = False


class Members(NamedTuple):
    """Server to client: a page of the room as of `seq`; `total` counts all members (section 2)."""

    id: int
    seq: int
    total: int
    members: tuple[MemberInfo, ...]

    def encode(self) -> bytes:
        parts = [layouts.MEMBERS.pack(self.id, self.seq, self.total, len(self.members))]
        for rank, ticket, load, name, address, absent in self.members:
            raw_name, raw_address = name.encode(), address.encode()
            parts += (
                layouts.MEMBER.pack(rank, ticket, load, absent, len(raw_name)),
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
            rank, ticket, load, state, name_size = layouts.MEMBER.unpack_from(body, cursor)
            if state > Presence.ABSENT:
                raise violation(f"state {state} of a member is not known, 0 and 1 are")
            cursor += layouts.MEMBER.size
            name = body[cursor : cursor + name_size]
            cursor += name_size
            if len(body) <= cursor:
                raise violation("a MEMBERS frame ends inside a member")
            address_size = body[cursor]
            address = body[cursor + 1 : cursor + 1 + address_size]
            cursor += 1 + address_size
            texts = text(name, "a name"), text(address, "an address")
            members.append(MemberInfo(rank, ticket, load, *texts, bool(state)))
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


class Stop(NamedTuple):
    """Server to client, on the wire CANCEL: stop what you run for the EXECUTE `seq`, answer nothing (section 6)."""

    seq: int

    def encode(self) -> bytes:
        return frame(FrameType.STOP, layouts.STOP.pack(self.seq))

    @classmethod
    def decode(cls, body: bytes) -> Stop:
        return cls(*exact(body, layouts.STOP, "CANCEL"))


class Yielded(NamedTuple):
    """Server to client: you have the last place now, under a new ticket (section 10)."""

    id: int
    seq: int
    ticket: int
    rank: int
    members: int

    def encode(self) -> bytes:
        return frame(FrameType.YIELDED, layouts.YIELDED.pack(*self))

    @classmethod
    def decode(cls, body: bytes) -> Yielded:
        return cls(*exact(body, layouts.YIELDED, "YIELDED"))


class Baton(NamedTuple):
    """Server to client: the note that the member `ticket` left in the write `seq` (section 10)."""

    seq: int
    ticket: int
    payload: bytes

    def encode(self) -> bytes:
        return frame(FrameType.BATON, layouts.BATON.pack(self.seq, self.ticket), self.payload)

    @classmethod
    def decode(cls, body: bytes) -> Baton:
        seq, ticket = at_least(body, layouts.BATON, "BATON")
        return cls(seq, ticket, body[layouts.BATON.size :])


class Changed(NamedTuple):
    """Server to client: an event of the line, for those that watch (section 8)."""

    seq: int
    what: int
    ticket: int
    rank: int
    members: int
    name: str

    def encode(self) -> bytes:
        name = self.name.encode()
        return frame(FrameType.CHANGED, layouts.CHANGED.pack(*self[:5], len(name)), name)

    @classmethod
    def decode(cls, body: bytes) -> Changed:
        seq, what, ticket, rank, members, size = at_least(body, layouts.CHANGED, "CHANGED")
        if len(body) != layouts.CHANGED.size + size:
            raise violation(f"the name of CHANGED is not {size} bytes long, as it says")
        if not Change.JOINED <= what <= Change.YIELDED:
            raise violation(f"the change {what} is not known, 1 to 7 are")
        return cls(seq, what, ticket, rank, members, text(body[layouts.CHANGED.size :], "a name"))
