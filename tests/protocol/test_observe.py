"""Section 8, OBSERVE: a connection without a seat, what it may send, and how many there may be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .frames import (
    MAX_PAYLOAD,
    NO_RANK,
    OBSERVE,
    WATCH,
    Accepted,
    Cancel,
    Cause,
    Code,
    Command,
    Error,
    Frame,
    Hello,
    Leave,
    Members,
    Ping,
    Pong,
    Rank,
    Refusal,
    Refused,
    Result,
    Status,
    Welcome,
    Who,
    Write,
    Yield,
    encode,
    envelope,
    resume,
)
from .peer import ClosedError, SilenceError

if TYPE_CHECKING:
    from .conftest import Serve
    from .peer import Peer
    from .process import Server

OBSERVERS_MAX = 16


def observe(server: Server, flags: int = OBSERVE) -> Peer:
    peer = server.connect()
    peer.hello("eye", flags=flags)
    return peer


# WELCOME, and what an observer does not change


@pytest.mark.parametrize("flags", [OBSERVE, OBSERVE | WATCH], ids=["OBSERVE", "OBSERVE WATCH"])
def test_the_welcome_of_an_observer(serve: Serve, flags: int) -> None:
    """Section 8: ticket 0, rank 0xFFFFFFFF, the seq and the number of members of that moment."""
    server = serve(4)
    first = observe(server, flags).joined
    assert (first.ticket, first.rank, first.seq, first.members) == (0, NO_RANK, 0, 0)
    assert (first.capacity, first.max_payload, first.ping_ms, first.resume) == (4, MAX_PAYLOAD, 10_000, b"")
    line = server.line(3)
    second = observe(server, flags).joined
    assert (second.ticket, second.rank, second.seq, second.members) == (0, NO_RANK, 3, 3)
    assert second.instance == line[0].joined.instance == first.instance
    assert [peer.ticket for peer in line] == [1, 2, 3]


def test_an_observer_is_in_no_count(room: Server) -> None:
    """Section 8: it takes no seq, no ticket and no seat, and no member is informed."""
    senior, junior = room.line(2)
    seq = junior.joined.seq
    eye = observe(room)
    members = senior.who()
    assert (members.total, members.seq, len(members.seats)) == (2, seq, 2)
    late = room.join()
    assert (late.joined.rank, late.joined.members, late.joined.seq) == (2, 3, seq + 1)
    assert late.ticket == junior.ticket + 1
    senior.command(1)
    senior.expect(Accepted, executors=2, rejected=0, absent=0)
    eye.leave()
    eye.expect_close()
    assert senior.who().seq == seq + 2
    senior.expect_quiet()


def test_an_observer_gets_nothing_unasked(room: Server) -> None:
    """Section 8: without WATCH."""
    eye = observe(room)
    first, second, third = room.line(3)
    first.command(1, payload=b"x", results=True)
    second.reset()
    first.expect(Accepted)
    third.settle()
    first.leave()
    third.expect(Rank, rank=0)
    eye.expect_quiet()


def test_an_observer_does_not_become_a_member(serve: Serve) -> None:
    """Section 8: not even when the line is empty."""
    server = serve(2)
    first = server.join()
    eye = observe(server)
    first.leave()
    first.expect_close()
    assert eye.who().total == 0
    assert server.join().joined.rank == 0
    eye.expect_quiet()


def test_a_full_room_admits_observers(serve: Serve) -> None:
    server = serve(1)
    server.join()
    eye = observe(server)
    assert (eye.joined.members, eye.joined.capacity) == (1, 1)
    late = server.connect()
    late.send(Hello())
    late.expect_error(Code.FULL)
    eye.expect_quiet()


def test_an_observer_of_the_turn_of_a_join(room: Server) -> None:
    """Section 4: observers come after the joins, whatever the order of the connections."""
    member = room.join()
    base = member.joined.seq
    before, eye, behind = (room.connect() for _ in range(3))
    member.ping()
    with room.one_turn():
        behind.send(Hello())
        eye.send(Hello(flags=OBSERVE))
        before.send(Hello())
    before.expect(Welcome, rank=1, seq=base + 1)
    eye.expect(Welcome, ticket=0, seq=base + 2, members=3)
    behind.expect(Welcome, rank=2, seq=base + 2)


def test_an_observer_comes_after_the_departures_of_the_turn(room: Server) -> None:
    first, second = room.line(2)
    base = second.joined.seq
    eye = room.connect()
    second.ping()
    with room.one_turn():
        eye.send(Hello(flags=OBSERVE))
        first.leave()
    eye.expect(Welcome, ticket=0, seq=base + 1, members=1)


# What it may send


def test_who_ping_and_leave(room: Server) -> None:
    line = room.line(3)
    eye = observe(room)
    members = eye.who(7)
    assert [seat.ticket for seat in members.seats] == [peer.ticket for peer in line]
    assert members.seq == line[-1].joined.seq
    eye.ping(b"x")
    eye.send(Pong(b"unasked"))
    eye.send(Who(8, 1, 1), Ping(b"y"), Leave(), Ping(b"z"))
    assert len(eye.expect(Members, id=8).seats) == 1
    eye.expect(Pong, opaque=b"y")
    eye.expect_close(reset_ok=True)


FORBIDDEN: dict[str, Frame] = {
    "COMMAND": Command(1),
    "RESULT": Result(1),
    "CANCEL": Cancel(1),
    "YIELD": Yield(1),
    "BATON": Write(1, b"x"),
    "HELLO": Hello(),
    "HELLO to observe": Hello(flags=OBSERVE),
}


@pytest.mark.parametrize("frame", FORBIDDEN.values(), ids=FORBIDDEN)
def test_frames_that_an_observer_may_not_send(room: Server, frame: Frame) -> None:
    """Section 8: PROTOCOL, and no member is informed."""
    senior, junior = room.line(2)
    seq = junior.joined.seq
    eye = observe(room)
    with room.one_turn():
        eye.send(Ping(b"before"), frame, Ping(b"behind"))
    eye.expect(Pong, opaque=b"before")
    eye.expect_error(Code.PROTOCOL, reset_ok=True)
    senior.expect_quiet()
    junior.expect_quiet()
    assert senior.who().seq == seq


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (bytes(4), Code.PROTOCOL),
        (envelope(Who.kind, bytes(11)), Code.PROTOCOL),
        (envelope(Ping.kind, bytes(65)), Code.PROTOCOL),
        (envelope(0xFF), Code.PROTOCOL),
        (envelope(0x0B), Code.PROTOCOL),
        (envelope(Welcome.kind, bytes(40)), Code.PROTOCOL),
        (b"\xff" * 4, Code.TOO_BIG),
    ],
    ids=["length 0", "WHO too short", "PING too long", "0xff", "0x0b", "WELCOME", "too big"],
)
def test_other_breaches_of_an_observer(room: Server, wire: bytes, code: Code) -> None:
    senior, junior = room.line(2)
    eye = observe(room)
    eye.raw(wire)
    eye.expect_error(code)
    senior.expect_quiet()
    junior.expect_quiet()


def test_frames_after_an_observer_s_hello(room: Server) -> None:
    member = room.join()
    eye = room.connect()
    eye.send(Hello(flags=OBSERVE), Who(1), Ping(b"x"))
    eye.expect(Welcome, ticket=0)
    assert eye.expect(Members, id=1).seats[0].ticket == member.ticket
    eye.expect(Pong, opaque=b"x")


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
def test_the_end_of_an_observer(room: Server, how: str) -> None:
    senior, junior = room.line(2)
    eye = observe(room)
    if how == "half-close":
        with room.one_turn():
            eye.send(Who(1))
            eye.half_close()
        eye.expect(Members, id=1, total=2)
        eye.expect_close()
    else:
        (eye.reset if how == "reset" else eye.close)()
    senior.expect_quiet()
    junior.expect_quiet()
    assert senior.who().seq == junior.joined.seq


# HELLO


@pytest.mark.parametrize("flags", [OBSERVE, OBSERVE | WATCH])
@pytest.mark.parametrize("keep_ms", [0, 60_000])
def test_an_observer_has_nothing_to_keep(room: Server, flags: int, keep_ms: int) -> None:
    """Section 3: OBSERVE with a resume block is PROTOCOL."""
    member = room.join()
    peer = room.connect()
    peer.send(Hello(flags=flags, resume=resume(bytes(16), keep_ms)))
    peer.expect_error(Code.PROTOCOL)
    member.expect_quiet()


def test_observing_does_not_return_to_a_kept_seat(room: Server) -> None:
    """Section 9: a HELLO that fails changes nothing about any seat."""
    member = room.join()
    kept = room.keep(bytes(16))
    peer = room.connect()
    peer.send(Hello(flags=OBSERVE, resume=resume(bytes(16))))
    peer.expect_error(Code.PROTOCOL)
    kept.expect_quiet()
    assert [seat.state for seat in member.who().seats] == [0, 0]


def test_an_observer_needs_the_token(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("t") / "token"
    path.touch(mode=0o600)
    path.write_bytes(b"correct horse battery staple")
    server = serve(2, "--token-file", str(path))
    peer = server.connect()
    peer.send(Hello(flags=OBSERVE, token=b"wrong"))
    peer.expect_error(Code.AUTH)
    server.connect().hello(token=b"correct horse battery staple", flags=OBSERVE)


# How many


def test_the_number_of_observers(room: Server) -> None:
    """Section 8: 16 at a time; further ones get FULL, members are not affected, and a place is free at once."""
    eyes = [observe(room, OBSERVE | (number % 2) * WATCH) for number in range(OBSERVERS_MAX)]
    late = room.connect()
    late.send(Hello(flags=OBSERVE))
    assert late.expect_error(Code.FULL).text
    assert room.join().joined.rank == 0
    eyes[3].leave()
    eyes[3].drain()
    observe(room).expect_quiet()
    late = room.connect()
    late.send(Hello(flags=OBSERVE | WATCH))
    late.expect_error(Code.FULL)


def test_the_number_of_observers_may_be_set(serve: Serve) -> None:
    server = serve(2, "--observers-max", "2")
    for _ in range(2):
        observe(server)
    late = server.connect()
    late.send(Hello(flags=OBSERVE))
    late.expect_error(Code.FULL)
    assert [peer.joined.rank for peer in server.line(2)] == [0, 1]


def test_no_observers(serve: Serve) -> None:
    server = serve(2, "--observers-max", "0")
    peer = server.connect()
    peer.send(Hello(flags=OBSERVE))
    peer.expect_error(Code.FULL)
    server.connect().hello(flags=WATCH)  # a member that watches is none


def test_two_observers_for_one_place(serve: Serve) -> None:
    """Section 8: the one whose connection was accepted first gets it."""
    server = serve(2, "--observers-max", "1")
    member = server.join()
    first, second = server.connect(), server.connect()
    member.ping()
    with server.one_turn():
        second.send(Hello(flags=OBSERVE))
        first.send(Hello(flags=OBSERVE))
    first.expect(Welcome, ticket=0)
    second.expect_error(Code.FULL)


# Liveness


def test_a_silent_observer_is_closed(serve: Serve) -> None:
    """Section 8: it must show signs of life; one that does stays."""
    server = serve(2, "--ping-ms", "200", "--observers-max", "2")
    member = server.join()
    alive = observe(server)
    silent = server.connect(answers_pings=False)
    silent.hello(flags=OBSERVE)
    began = time.monotonic()
    pings = 0
    while True:
        for peer in (alive, member):
            peer.expect_nothing(0.02)
        try:
            assert isinstance(silent.recv(0.02), Ping)
            pings += 1
        except SilenceError:
            continue
        except ClosedError:
            break
    assert pings == 2
    assert 0.3 < time.monotonic() - began < 3.0
    alive.expect_quiet()
    member.expect_quiet()


def test_an_observer_that_does_not_read(serve: Serve) -> None:
    """Section 8: SLOW; until then and afterwards, members are served without waiting for it."""
    server = serve(64)
    line = [server.join("x" * 64) for _ in range(40)]
    eye = server.connect(receive_buffer=4096)
    eye.hello(flags=OBSERVE | WATCH)
    asked = b"".join(encode(Who(number, 0, 40)) for number in range(2000))
    eye.sock.settimeout(0.2)
    began = time.monotonic()
    ended = False
    while not ended and time.monotonic() < began + 10:
        try:
            eye.sock.sendall(asked)
        except TimeoutError:
            continue
        except OSError:
            ended = True
        line[0].command(1, payload=b"x")
        line[0].expect(Accepted, timeout_s=1.0)
        line[1].expect_execute(0, b"x")
    assert ended, "it may ask for ever without reading"
    seen: list[Frame] = []
    try:
        while True:
            seen.append(eye.recv())
    except ClosedError:
        pass
    errors = [frame for frame in seen if isinstance(frame, Error)]
    assert all(frame.code == Code.SLOW for frame in errors)
    assert line[0].who().total == 40
    line[0].command(2, 1, 0)
    line[0].expect(Refused, id=2, code=Refusal.NOT_LOWER)


def test_a_command_reaches_no_observer(room: Server) -> None:
    """Section 8: it cannot be an executor."""
    sender = room.join()
    eye = observe(room)
    sender.command(1)
    sender.expect(Refused, id=1, code=Refusal.NO_TARGET)
    sender.command(2, 1, 1)
    sender.expect(Refused, id=2, code=Refusal.NO_SUCH_RANK)
    junior = room.join()
    sender.command(3, results=True, payload=b"x")
    seq = junior.expect_execute(0, b"x").seq
    sender.expect(Accepted, id=3, executors=1)
    sender.leave()
    junior.expect(Rank, rank=0, cause=Cause.LEFT)
    junior.result(seq, Status.OK)
    eye.expect_quiet()
