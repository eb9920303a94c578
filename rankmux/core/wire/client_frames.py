"""The frames that a client sends (PROTOCOL section 2), and PING and PONG, which go both ways.

One class a frame: `encode()` gives the whole frame, its length included; `decode(body)` takes the body behind the type
byte and raises `ProtocolViolation` with the code that an ERROR would carry.
"""

from __future__ import annotations

from array import array
from itertools import pairwise
from sys import byteorder
from typing import NamedTuple

from . import layouts
from .codes import (
    CLIENT_STATUSES,
    NAME_MAX_BYTES,
    PING_MAX_BYTES,
    SECRET_MAX_BYTES,
    SECRET_MIN_BYTES,
    TOKEN_MAX_BYTES,
    VERSION,
    CommandFlag,
    ErrorCode,
    FrameType,
    HelloFlag,
    Target,
)
from .fields import at_least, exact, frame, text, violation

__all__ = [
    "Cancel",
    "Command",
    "Hello",
    "Keep",
    "Leave",
    "Ping",
    "Pong",
    "Result",
    "SetBaton",
    "Who",
    "Yield",
    "valid_name",
]

_HELLO_MIN_BYTES = layouts.HELLO.size + 2 * layouts.U16.size
_HELLO_FLAGS = HelloFlag.OBSERVE | HelloFlag.WATCH
_COMMAND_FLAGS = CommandFlag.RESULTS | CommandFlag.QUIET | CommandFlag.TIED


def valid_name(name: str) -> bool:
    """Whether `name` may stand in HELLO: 0 to 64 bytes of printable text (section 3)."""
    return len(name.encode("utf-8", "surrogatepass")) <= NAME_MAX_BYTES and name.isprintable()


class Keep(NamedTuple):
    """The resume of HELLO: keep my seat when my connection is lost (section 9). Its secret is not shown by `repr`.

    `ms`        for how long, in milliseconds
    `last_seq`  the largest seq of an EXECUTE that this program has seen, 0 when it has just started
    `secret`    16 to 32 bytes that nobody else knows
    """

    ms: int
    last_seq: int
    secret: bytes

    def __repr__(self) -> str:
        return f"Keep(ms={self.ms}, last_seq={self.last_seq}, secret=...)"

    def encode(self) -> bytes:
        """The resume block."""
        return layouts.KEEP.pack(self.ms, self.last_seq) + self.secret

    @classmethod
    def decode(cls, block: bytes) -> Keep:
        """Raises the breach of a block that is too short or too long."""
        secret = block[layouts.KEEP.size :]
        if not SECRET_MIN_BYTES <= len(secret) <= SECRET_MAX_BYTES:
            least, most = layouts.KEEP.size + SECRET_MIN_BYTES, layouts.KEEP.size + SECRET_MAX_BYTES
            raise violation(f"a resume is empty or {least} to {most} bytes, this one {len(block)}")
        ms, last_seq = layouts.KEEP.unpack_from(block)
        return cls(ms, last_seq, secret)


class Hello(NamedTuple):
    """Client to server: let me in (section 3.1). Its token is not shown by `repr`."""

    name: str = ""
    token: bytes = b""
    version: int = VERSION
    flags: int = 0
    keep: Keep | None = None

    def __repr__(self) -> str:
        shown = f"name={self.name!r}, token=..., version={self.version}, flags={self.flags}, keep={self.keep}"
        return f"Hello({shown})"

    def encode(self) -> bytes:
        name = self.name.encode()
        resume = b"" if self.keep is None else self.keep.encode()
        return frame(
            FrameType.HELLO,
            layouts.HELLO.pack(self.version, self.flags, len(name)),
            name,
            layouts.U16.pack(len(self.token)),
            self.token,
            layouts.U16.pack(len(resume)),
            resume,
        )

    @classmethod
    def decode(cls, body: bytes) -> Hello:
        """Judges the version first: another version may have another layout."""
        size = len(body)
        if size and body[0] != VERSION:
            raise violation(f"version {body[0]} is not spoken here, {VERSION} is", ErrorCode.UNSUPPORTED)
        if size < _HELLO_MIN_BYTES:
            raise violation(f"a HELLO body is at least {_HELLO_MIN_BYTES} bytes, this one {size}")
        version, flags, name_size = body[:3]
        token_at = 3 + name_size
        resume_at = token_at + 2 + int.from_bytes(body[token_at : token_at + 2])
        if resume_at + 2 + int.from_bytes(body[resume_at : resume_at + 2]) != size:
            raise violation(f"the lengths of HELLO's fields do not make up its body of {size} bytes")
        if name_size > NAME_MAX_BYTES:
            raise violation(f"a name is at most {NAME_MAX_BYTES} bytes, this one {name_size}")
        name = text(body[3:token_at], "a name")
        if not name.isprintable():
            raise violation("a name is printable text without control characters")
        token, resume = body[token_at + 2 : resume_at], body[resume_at + 2 :]
        if len(token) > TOKEN_MAX_BYTES:
            raise violation(f"a token is at most {TOKEN_MAX_BYTES} bytes, this one {len(token)}")
        if flags & ~int(_HELLO_FLAGS):
            raise violation(f"HELLO flags {flags:#04x} set a reserved bit")
        if resume and flags & HelloFlag.OBSERVE:
            raise violation("an observer has no seat to keep, expected an empty resume")
        return cls(name, token, version, flags, Keep.decode(resume) if resume else None)


class Command(NamedTuple):
    """Client to server: have this executed by `target` (section 5)."""

    id: int
    target: int
    arg: int
    flags: int
    ttl_ms: int
    payload: bytes

    def encode(self) -> bytes:
        return frame(
            FrameType.COMMAND,
            layouts.COMMAND.pack(self.id, self.target, self.arg, self.flags, self.ttl_ms),
            self.payload,
        )

    @classmethod
    def decode(cls, body: bytes) -> Command:
        id_, target, arg, flags, ttl_ms = at_least(body, layouts.COMMAND, "COMMAND")
        if target > Target.SET:
            raise violation(f"target {target} is not known, 0 to 4 are")
        if arg and target not in (Target.ONE, Target.SET):
            raise violation(f"the arg of {Target(target).name} is 0, this one {arg}")
        if flags & ~int(_COMMAND_FLAGS):
            raise violation(f"COMMAND flags {flags:#04x} set a reserved bit")
        if flags & CommandFlag.TIED and not flags & CommandFlag.RESULTS:
            raise violation("a TIED COMMAND wants results, this one does not set RESULTS")
        payload = body[layouts.COMMAND.size :]
        if target == Target.SET:
            _check_set(arg, payload)
        return cls(id_, target, arg, flags, ttl_ms, payload)


def _check_set(count: int, payload: bytes) -> None:
    """Raise the breach of a SET whose payload does not begin with `count` rising tickets."""
    size = count * layouts.TICKET.size
    if not count:
        raise violation("a SET names at least 1 ticket, this one 0")
    if len(payload) < size:
        raise violation(f"a SET of {count} tickets takes {size} bytes, this one has {len(payload)}")
    tickets = array("Q", payload[:size])
    if byteorder == "little":
        tickets.byteswap()
    if any(a >= b for a, b in pairwise(tickets)):
        raise violation("the tickets of a SET have to rise, each named once")


class Result(NamedTuple):
    """Client to server: what came of the EXECUTE `seq` (section 6)."""

    seq: int
    status: int
    payload: bytes

    def encode(self) -> bytes:
        return frame(FrameType.RESULT, layouts.RESULT.pack(self.seq, self.status), self.payload)

    @classmethod
    def decode(cls, body: bytes) -> Result:
        seq, status = at_least(body, layouts.RESULT, "RESULT")
        if status not in CLIENT_STATUSES:
            raise violation(f"status {status} is not one that a client sends (0, 1, 2, 16)")
        return cls(seq, status, body[layouts.RESULT.size :])


class _Id(NamedTuple):
    id: int


class Cancel(_Id):
    """Client to server: end my command `id` for all that have not ended (section 6)."""

    __slots__ = ()

    def encode(self) -> bytes:
        return frame(FrameType.CANCEL, layouts.U32.pack(self.id))

    @classmethod
    def decode(cls, body: bytes) -> Cancel:
        return cls(*exact(body, layouts.U32, "CANCEL"))


class Yield(_Id):
    """Client to server: I take the last place (section 10)."""

    __slots__ = ()

    def encode(self) -> bytes:
        return frame(FrameType.YIELD, layouts.U32.pack(self.id))

    @classmethod
    def decode(cls, body: bytes) -> Yield:
        return cls(*exact(body, layouts.U32, "YIELD"))


class SetBaton(NamedTuple):
    """Client to server: a note for whoever holds rank 0 after me (section 10)."""

    id: int
    payload: bytes

    def encode(self) -> bytes:
        return frame(FrameType.SET_BATON, layouts.U32.pack(self.id), self.payload)

    @classmethod
    def decode(cls, body: bytes) -> SetBaton:
        (id_,) = at_least(body, layouts.U32, "BATON")
        return cls(id_, body[layouts.U32.size :])


class Who(NamedTuple):
    """Client to server: list `count` members from `first_rank` on (section 2)."""

    id: int
    first_rank: int
    count: int  # type: ignore[assignment]  # a tuple's method, which is not missed here

    def encode(self) -> bytes:
        return frame(FrameType.WHO, layouts.WHO.pack(*self))

    @classmethod
    def decode(cls, body: bytes) -> Who:
        return cls(*exact(body, layouts.WHO, "WHO"))


class _Opaque(NamedTuple):
    payload: bytes


class Ping(_Opaque):
    """Both ways: are you there? 0 to 64 opaque bytes (section 3.5)."""

    __slots__ = ()

    def encode(self) -> bytes:
        return frame(FrameType.PING, self.payload)

    @classmethod
    def decode(cls, body: bytes) -> Ping:
        if len(body) > PING_MAX_BYTES:
            raise violation(f"a PING holds at most {PING_MAX_BYTES} bytes, this one {len(body)}")
        return cls(body)


class Pong(_Opaque):
    """Both ways: the bytes of the PING back (section 3.5)."""

    __slots__ = ()

    def encode(self) -> bytes:
        return frame(FrameType.PONG, self.payload)

    @classmethod
    def decode(cls, body: bytes) -> Pong:
        if len(body) > PING_MAX_BYTES:
            raise violation(f"a PONG holds at most {PING_MAX_BYTES} bytes, this one {len(body)}")
        return cls(body)


class Leave(NamedTuple):
    """Client to server: I go, cleanly (section 3.4)."""

    def encode(self) -> bytes:
        return frame(FrameType.LEAVE)

    @classmethod
    def decode(cls, body: bytes) -> Leave:
        if body:
            raise violation(f"a LEAVE has no body, this one {len(body)} bytes")
        return cls()
