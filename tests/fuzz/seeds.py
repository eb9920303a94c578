"""Where fuzzing begins: one input for each frame, each odd length, and some of everything at once."""

from __future__ import annotations

from rankmux.wire import (
    Accepted,
    Command,
    Done,
    ErrorFrame,
    Execute,
    Hello,
    Leave,
    MemberInfo,
    Members,
    Ping,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
    Welcome,
    Who,
)

__all__ = ["SEEDS"]

_OF_CLIENTS = [
    frame.encode()
    for frame in (
        Command(1, 0, 0, 1, 5000, b"print"),
        Command(2, 1, 3, 0, 0, b""),
        Command(3, 2, 0, 2, 0, b"x" * 20),
        Command(4, 3, 0, 3, 0, b"least"),
        Result(42, 0, b"done"),
        Result(43, 16, b"part"),
        Who(9, 0, 100),
        Ping(b"hi"),
        Pong(b"hi"),
        Leave(),
        Hello("ada", b"secret"),
    )
]
_OF_SERVERS = [
    frame.encode()
    for frame in (
        Welcome(1, 5, 10, 2, 4, 8, 300, 1000),
        Execute(11, 0, 1, 500, b"print"),
        Execute(12, 3, 1, 0, b"from below"),
        Rank(13, 1, 3, 2),
        Accepted(0, 14, 1, 2),
        Refused(1, 2, "rank 2 is not below you"),
        Routed(0, 6, 3, 0, b"done"),
        Done(0, 1, 0, 0, 0, 0),
        Members(0, 15, 1, (MemberInfo(0, 1, 0, "ada", "127.0.0.1:1"),)),
        Pong(b"p"),
        Ping(b""),
        ErrorFrame(8, "going away"),
    )
]
_LENGTHS = [
    length.to_bytes(4) for length in (0, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFDA, 65_600, 65_601)
]


def _as_list(frames: list[bytes]) -> bytes:
    """The form that `targets._framed` reads."""
    return b"".join(bytes((len(frame) - 4,)) + frame[4:] for frame in frames)


def _seeds(frames: list[bytes], heads: tuple[bytes, ...]) -> list[bytes]:
    streams = [*frames, *_LENGTHS, b"".join(frames), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"]
    made = [head + bytes((4, 3, 0)) + stream for stream in streams for head in heads]
    return made + [
        head + bytes((2, 0, 1)) + _as_list(frames[n:]) for n in range(len(frames)) for head in heads
    ]


SEEDS = {
    "decoder": _seeds(_OF_CLIENTS, (b"",)),
    "session": _seeds(_OF_CLIENTS, (b"\0", b"\1")),
    "client": _seeds(_OF_SERVERS, (b"\0", b"\1", b"\2", b"\3")),
}
