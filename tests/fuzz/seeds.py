"""Where fuzzing begins: one input for each frame, each odd length, and some of everything at once."""

from __future__ import annotations

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
    MemberInfo,
    Members,
    Ping,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
    SetBaton,
    Stop,
    Welcome,
    Who,
    Yield,
    Yielded,
)

__all__ = ["SEEDS"]

_TICKETS = b"".join(ticket.to_bytes(8) for ticket in (8, 9))
_OF_CLIENTS = [
    frame.encode()
    for frame in (
        Command(1, 0, 0, 1, 5000, b"print"),
        Command(2, 1, 3, 0, 0, b""),
        Command(3, 2, 0, 2, 0, b"x" * 20),
        Command(4, 3, 0, 3, 0, b"least"),
        Command(5, 4, 2, 0, 0, _TICKETS + b"set"),
        Command(6, 4, 1, 5, 500, _TICKETS[:8] + b"tied"),
        Command(7, 4, 2, 0, 0, _TICKETS[8:] + _TICKETS[:8] + b"falling"),
        Cancel(1),
        Yield(10),
        SetBaton(11, b"v2"),
        SetBaton(12, b""),
        Result(42, 0, b"done"),
        Result(43, 16, b"part"),
        Who(9, 0, 100),
        Ping(b"hi"),
        Pong(b"hi"),
        Leave(),
        Hello("ada", b"secret"),
        Hello("eye", flags=3),
        Hello("ada", flags=2, keep=Keep(60_000, 42, bytes(range(16)))),
        Hello("ada", keep=Keep(0, 0, bytes(32))),
    )
]
_OF_SERVERS = [
    frame.encode()
    for frame in (
        Welcome(1, 5, 10, 2, 4, 8, 300, 1000),
        Welcome(1, 5, 10, 2, 4, 8, 300, 1000, True, 60_000),
        Execute(11, 0, 1, 500, b"print"),
        Stop(11),
        Execute(12, 3, 1, 0, b"from below"),
        Rank(13, 1, 3, 2),
        Rank(14, 0, 2, 4),
        Baton(9, 3, b"v2"),
        Changed(15, 1, 8, 3, 4, "bob"),
        Changed(16, 5, 8, 3, 4, "bob"),
        Changed(17, 7, 8, 3, 3, "bob"),
        Accepted(1, 14, 1, 2),
        Accepted(3, 19, 0, 0),
        Refused(0x8000_0001, 2, "rank 2 is not below you"),
        Routed(1, 6, 3, 0, b"done"),
        Done(1, 1, 0, 0, 0, 0),
        Yielded(4, 20, 9, 3, 4),
        Members(2, 20, 1, (MemberInfo(0, 1, 0, "ada", "127.0.0.1:1"),)),
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
    "client": _seeds(_OF_SERVERS, tuple(map(bytes, zip(range(8), strict=True)))),
}
