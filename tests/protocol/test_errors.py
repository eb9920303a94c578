"""Section 3, point 3, and section 7: breaches, their codes, and their effect on others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import (
    MAX_PAYLOAD,
    Accepted,
    Cancel,
    Cause,
    Code,
    Command,
    Error,
    Execute,
    Hello,
    Leave,
    Ping,
    Pong,
    Rank,
    Result,
    Routed,
    Status,
    Target,
    Who,
    Write,
    Yield,
    encode,
    envelope,
)

if TYPE_CHECKING:
    from .peer import Peer
    from .process import Server


def cut(kind: int, body: bytes) -> list[bytes]:
    """The same frame with each shorter body."""
    return [envelope(kind, body[:size]) for size in range(len(body))]


PROTOCOL: dict[str, bytes] = {
    "length 0": bytes(4),
    "a second HELLO": encode(Hello()),
    "a second HELLO, broken": envelope(Hello.kind, b"\1"),
    "WHO too long": envelope(Who.kind, bytes(13)),
    "LEAVE too long": envelope(Leave.kind, b"\0"),
    "PING of 65": envelope(Ping.kind, bytes(65)),
    "PING of 60,000": envelope(Ping.kind, bytes(60_000)),
    "PONG of 65": envelope(Pong.kind, bytes(65)),
    **{f"COMMAND of {n}": wire for n, wire in enumerate(cut(Command.kind, bytes(14)))},
    **{f"RESULT of {n}": wire for n, wire in enumerate(cut(Result.kind, bytes(9)))},
    **{f"WHO of {n}": wire for n, wire in enumerate(cut(Who.kind, bytes(12)))},
    **{f"CANCEL of {n}": wire for n, wire in enumerate(cut(Cancel.kind, bytes(4)))},
    **{f"YIELD of {n}": wire for n, wire in enumerate(cut(Yield.kind, bytes(4)))},
    **{f"BATON of {n}": wire for n, wire in enumerate(cut(Write.kind, bytes(4)))},
    "CANCEL too long": envelope(Cancel.kind, bytes(5)),
    "YIELD too long": envelope(Yield.kind, bytes(5)),
    **{f"COMMAND flag {1 << bit}": encode(Command(1, flags=1 << bit)) for bit in range(3, 8)},
    "COMMAND all flags": encode(Command(1, flags=0xFF)),
    **{f"target {target}": encode(Command(1, target)) for target in (5, 6, 16, 128, 255)},
    **{
        f"arg with {target.name}": encode(Command(1, target, 1))
        for target in Target
        if target not in (Target.ONE, Target.SET)
    },
    "a large arg with ALL": encode(Command(1, Target.ALL, 0x8000_0000)),
    **{f"status {status}": encode(Result(1, status)) for status in (3, 4, 5, 15, 17, 32, 128, 255)},
}

TOO_BIG: dict[str, bytes] = {
    "one over the bound": (MAX_PAYLOAD + 65).to_bytes(4, "big"),
    "all ones": b"\xff" * 4,
    "RESULT payload": encode(Result(1, Status.OK, bytes(MAX_PAYLOAD + 1))),
    "PART payload": encode(Result(1, Status.PART, bytes(MAX_PAYLOAD + 1))),
}

UNSUPPORTED: dict[str, bytes] = {
    **{f"type {kind:#04x}": envelope(kind) for kind in (0x00, 0x0B, 0x40, 0x7F, 0x80, 0x8E, 0xFF)},
    **{f"type {kind:#04x} with a body": envelope(kind, bytes(8)) for kind in (0x00, 0x0B, 0xFF)},
    **{f"type {kind:#04x} from a client": envelope(kind, bytes(19)) for kind in range(0x81, 0x8E)},
}

BREACHES = [
    pytest.param(wire, code, id=name)
    for code, cases in (
        (Code.PROTOCOL, PROTOCOL),
        (Code.TOO_BIG, TOO_BIG),
        (Code.UNSUPPORTED, UNSUPPORTED),
    )
    for name, wire in cases.items()
]


def expect_only_the_offender_departs(senior: Peer, junior: Peer) -> None:
    """The junior moves up because of an eviction, the senior receives nothing, and both keep working."""
    junior.expect(Rank, rank=1, members=2, cause=Cause.EVICTED)
    junior.expect_quiet()
    senior.expect_quiet()
    senior.command(1, payload=b"on we go")
    senior.expect(Accepted, executors=1)
    junior.expect_execute(0, b"on we go")


@pytest.mark.parametrize(("wire", "code"), BREACHES)
def test_a_breach(room: Server, wire: bytes, code: Code) -> None:
    senior, offender, junior = room.line(3)
    offender.raw(wire)
    error = offender.expect_error(code)
    assert error.text
    expect_only_the_offender_departs(senior, junior)


@pytest.mark.parametrize(
    ("wire", "code"), [(PROTOCOL["length 0"], Code.PROTOCOL), (TOO_BIG["all ones"], Code.TOO_BIG)]
)
def test_a_breach_between_frames(room: Server, wire: bytes, code: Code) -> None:
    """Complete frames before it take effect, those after it do not."""
    senior, offender, junior = room.line(3)
    with room.one_turn():
        offender.raw(
            encode(Command(1, payload=b"before"))
            + encode(Who(2))
            + wire
            + encode(Command(3, payload=b"behind"))
        )
    offender.expect(Accepted, id=1)
    frames = [offender.recv() for _ in range(2)]
    assert isinstance(frames[1], Error)
    assert frames[1].code == code
    offender.expect_close(reset_ok=True)
    junior.expect_execute(1, b"before")
    expect_only_the_offender_departs(senior, junior)


@pytest.mark.parametrize(
    "wire",
    [
        encode(Command(1, flags=8, payload=b"x")),
        encode(Command(1, 5, payload=b"x")),
        encode(Command(1, Target.ALL, 1, payload=b"x")),
    ],
    ids=["flag", "target", "arg"],
)
def test_a_broken_command_reaches_no_member(room: Server, wire: bytes) -> None:
    senior, offender, junior = room.line(3)
    base = junior.joined.seq
    offender.raw(wire)
    offender.expect_error(Code.PROTOCOL)
    junior.expect(Rank, seq=base + 1, rank=1, members=2, cause=Cause.EVICTED)
    junior.expect_quiet()
    senior.expect_quiet()


def test_a_broken_result_has_no_effect(room: Server) -> None:
    sender, offender = room.line(2)
    sender.command(1, results=True, quiet=True)
    seq = offender.expect(Execute).seq
    offender.raw(encode(Result(seq, 7, b"broken")))
    offender.expect_error(Code.PROTOCOL)
    sender.expect(Routed, id=1, rank=1, status=Status.LEFT)


def test_several_breaches_in_one_turn(room: Server) -> None:
    """Each offender receives the error for its breach; each other member receives one RANK."""
    line = room.line(6)
    base = line[-1].joined.seq
    with room.one_turn():
        line[0].raw(bytes(4))
        line[2].raw(envelope(0xFF))
        line[4].raw(b"\xff" * 4)
    line[0].expect_error(Code.PROTOCOL)
    line[2].expect_error(Code.UNSUPPORTED)
    line[4].expect_error(Code.TOO_BIG)
    for rank, peer in enumerate((line[1], line[3], line[5])):
        peer.expect(Rank, seq=base + 3, rank=rank, members=3, cause=Cause.EVICTED)
        peer.expect_quiet()


def test_an_arg_of_zero_and_the_known_flags_are_no_breach(room: Server) -> None:
    sender, junior = room.line(2)
    for target in (Target.ALL, Target.NEXT, Target.LEAST):
        for flags in range(4):
            sender.send(Command(target * 4 + flags, target, 0, flags))
            junior.expect(Execute, flags=flags & 1)


def test_the_server_lives_through_noise(room: Server) -> None:
    """Random bytes from many connections; members receive only departures."""
    seed = 20_240_229
    senior = room.join()
    state = seed
    for _ in range(60):
        noise = bytearray()
        for _ in range(64):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            noise.append(state >> 56)
        peer = room.connect()
        if state % 2:
            peer.send(Hello())
        peer.raw(bytes(noise))
        peer.half_close()
        peer.close()
    senior.expect_quiet()
