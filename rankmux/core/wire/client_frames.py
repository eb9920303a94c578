"""The frames that a client sends (PROTOCOL section 2), and PING and PONG, which go both ways.

One class a frame: `encode()` gives the whole frame, its length included; `decode(body)` takes the body behind the type
byte and raises `ProtocolViolation` with the code that an ERROR would carry.
"""

from __future__ import annotations

from typing import NamedTuple

from . import layouts
from .codes import (
    CLIENT_STATUSES,
    NAME_MAX_BYTES,
    PING_MAX_BYTES,
    TOKEN_MAX_BYTES,
    VERSION,
    CommandFlag,
    ErrorCode,
    FrameType,
    Target,
)
from .fields import at_least, exact, frame, text, violation

__all__ = ["Command", "Hello", "Leave", "Ping", "Pong", "Result", "Who", "valid_name"]

_HELLO_MIN_BYTES = layouts.HELLO.size + 2 * layouts.U16.size
_COMMAND_FLAGS = CommandFlag.RESULTS | CommandFlag.QUIET


def valid_name(name: str) -> bool:
    """Whether `name` may stand in HELLO: 0 to 64 bytes of printable text (section 3)."""
    return len(name.encode("utf-8", "surrogatepass")) <= NAME_MAX_BYTES and name.isprintable()


class Hello(NamedTuple):
    """Client to server: let me in (section 3.1). Its token is not shown by `repr`."""

    name: str = ""
    token: bytes = b""
    version: int = VERSION
    flags: int = 0
    resume: bytes = b""

    def __repr__(self) -> str:
        return f"Hello(name={self.name!r}, token=..., version={self.version}, flags={self.flags})"

    def encode(self) -> bytes:
        name = self.name.encode()
        return frame(
            FrameType.HELLO,
            layouts.HELLO.pack(self.version, self.flags, len(name)),
            name,
            layouts.U16.pack(len(self.token)),
            self.token,
            layouts.U16.pack(len(self.resume)),
            self.resume,
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
        if flags:
            raise violation(f"HELLO flags {flags:#04x} are not known, expected 0", ErrorCode.UNSUPPORTED)
        if resume:
            raise violation("resuming is not offered, expected an empty resume", ErrorCode.UNSUPPORTED)
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
        return frame(
            FrameType.COMMAND,
            layouts.COMMAND.pack(self.id, self.target, self.arg, self.flags, self.ttl_ms),
            self.payload,
        )

    @classmethod
    def decode(cls, body: bytes) -> Command:
        id_, target, arg, flags, ttl_ms = at_least(body, layouts.COMMAND, "COMMAND")
        if target > Target.LEAST:
            raise violation(f"target {target} is not known, 0 to 3 are")
        if arg and target != Target.ONE:
            raise violation(f"the arg of {Target(target).name} is 0, this one {arg}")
        if flags & ~int(_COMMAND_FLAGS):
            raise violation(f"COMMAND flags {flags:#04x} set a reserved bit")
        return cls(id_, target, arg, flags, ttl_ms, body[layouts.COMMAND.size :])


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
