"""Section 3, points 1 and 2: WELCOME, frames before and after HELLO, and a server without a free seat."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .frames import (
    Cause,
    Code,
    Command,
    Hello,
    Leave,
    Members,
    Ping,
    Pong,
    Rank,
    Refusal,
    Refused,
    Result,
    Welcome,
    Who,
    encode,
    encode_all,
    envelope,
)
from .peer import DEADLINE_S

if TYPE_CHECKING:
    from .conftest import Serve
    from .process import Server


# WELCOME


def test_welcome_of_the_first_members(serve: Serve) -> None:
    """Ranks count up from 0 and seq from 1; the other fields stay the same."""
    server = serve(4)
    peers = server.line(3)
    welcomes = [peer.joined for peer in peers]
    for rank, welcome in enumerate(welcomes):
        assert (welcome.version, welcome.capacity, welcome.resume) == (1, 4, b"")
        assert (welcome.rank, welcome.members, welcome.seq) == (rank, rank + 1, rank + 1)
        assert (welcome.max_payload, welcome.ping_ms) == (65_536, 10_000)
        assert welcome.instance == welcomes[0].instance
    for peer in peers:
        peer.expect_quiet()  # no member is notified of a join


def test_welcome_states_the_settings(serve: Serve) -> None:
    server = serve(1, "--max-payload", "2048", "--ping-ms", "7000")
    welcome = server.join().joined
    assert (welcome.capacity, welcome.max_payload, welcome.ping_ms) == (1, 2048, 7000)


def test_tickets_grow_and_never_come_again(room: Server) -> None:
    tickets = []
    keeper = room.join()
    tickets.append(keeper.ticket)
    for _ in range(5):
        peer = room.join()
        tickets.append(peer.ticket)
        peer.leave()
        peer.expect_close()
    assert tickets == sorted(set(tickets))


def test_a_newcomer_gets_the_largest_rank(room: Server) -> None:
    first, _, third = room.line(3)
    first.leave()
    first.expect_close()
    third.expect(Rank, rank=1, members=2)
    assert room.join().joined.rank == 2


def test_the_first_ticket_is_the_clock_s(serve: Serve) -> None:
    """Section 1: Unix milliseconds x 1,000, so that tickets keep growing over restarts."""
    before = time.time_ns() // 1_000_000
    server = serve(4, first_ticket=None)
    first, second, third = (peer.ticket for peer in server.line(3))
    after = time.time_ns() // 1_000_000
    assert before * 1000 <= first <= after * 1000
    assert first < second < third < 2**53
    assert serve(4, first_ticket=None).join().ticket > third


@pytest.mark.parametrize("first", [1, 2, 1_000_000, 2**53])
def test_the_first_ticket_may_be_set(serve: Serve, first: int) -> None:
    assert [peer.ticket for peer in serve(3, first_ticket=first).line(3)] == [first, first + 1, first + 2]


def test_another_start_is_another_instance(serve: Serve) -> None:
    welcomes = [serve(1).join().joined for _ in range(2)]
    assert welcomes[0].instance != welcomes[1].instance
    assert [welcome.seq for welcome in welcomes] == [1, 1]


# Before HELLO


def test_a_silent_connection_holds_no_seat(room: Server) -> None:
    silent = room.connect()
    witness = room.join()
    assert witness.joined.rank == 0
    assert witness.who().total == 1
    silent.close()
    witness.expect_quiet()
    assert room.join().joined.rank == 1


@pytest.mark.parametrize(
    "frame",
    [Command(1), Result(1), Who(1), Ping(b"x"), Pong(b"x"), Leave()],
    ids=lambda frame: type(frame).__name__,
)
def test_another_frame_before_hello(room: Server, frame: Command) -> None:
    peer = room.connect()
    peer.send(frame)
    peer.expect_error(Code.PROTOCOL)


@pytest.mark.parametrize("kind", [0x00, 0x04, 0x09, 0x7F, 0x81, 0x89, 0xFF])
def test_a_type_that_is_none_before_hello(room: Server, kind: int) -> None:
    """Both faults apply: a frame before HELLO, and a type that clients must not send."""
    peer = room.connect()
    peer.raw(envelope(kind, bytes(8)))
    error = peer.drain()[0]
    assert getattr(error, "code", None) in {Code.PROTOCOL, Code.UNSUPPORTED}


def test_a_hello_is_not_read_after_a_broken_frame(room: Server) -> None:
    witness = room.join()
    peer = room.connect()
    peer.raw(encode(Command(1)) + encode(Hello()))
    peer.expect_error(Code.PROTOCOL, reset_ok=True)
    assert witness.who().total == 1


def test_no_hello_in_time(serve: Serve) -> None:
    server = serve(2)
    witness = server.join()
    peer = server.connect()
    began = time.monotonic()
    peer.expect_error(Code.TIMEOUT)
    assert 1.8 < time.monotonic() - began < 4.0
    witness.expect_quiet()


def test_dripping_does_not_extend_the_handshake(serve: Serve) -> None:
    server = serve(2, "--handshake-timeout-s", "1")
    peer = server.connect()
    peer.raw(encode(Hello(token=bytes(1000)))[:10])
    assert 0.9 < peer.drip_until(Code.TIMEOUT) < 3.0


def test_a_member_has_no_handshake_to_finish(serve: Serve) -> None:
    server = serve(2, "--handshake-timeout-s", "1")
    member = server.join()
    server.connect().expect_error(Code.TIMEOUT)
    member.expect_quiet()


# Full


def test_a_full_server(serve: Serve) -> None:
    server = serve(2)
    members = server.line(2)
    for _ in range(3):
        late = server.connect()
        late.send(Hello())
        late.expect_error(Code.FULL)
    for rank, member in enumerate(members):
        member.expect_quiet()
        assert member.who().total == 2
        assert member.joined.rank == rank
    members[0].leave()
    members[0].expect_close()
    members[1].expect(Rank, seq=3, rank=0, members=1, cause=Cause.LEFT)
    newcomer = server.join()
    assert (newcomer.joined.rank, newcomer.joined.seq) == (1, 4)


def test_silent_connections_take_no_seat(serve: Serve) -> None:
    server = serve(1)
    for _ in range(5):
        server.connect()
    assert server.join().joined.rank == 0


# Frames after HELLO


def test_frames_in_the_same_segment_are_read(room: Server) -> None:
    peer = room.connect()
    peer.send(Hello(name="ada"), Command(1), Who(2), Ping(b"3"))
    peer.expect(Welcome, rank=0)
    peer.expect(Refused, id=1, code=Refusal.NO_TARGET)
    (seat,) = peer.expect(Members, id=2, total=1).seats
    assert (seat.rank, seat.ticket, seat.name) == (0, peer.ticket, "ada")
    peer.expect(Pong, opaque=b"3")


def test_frames_after_a_hello_that_finds_no_seat_are_dropped(serve: Serve) -> None:
    server = serve(1)
    member = server.join()
    peer = server.connect()
    peer.send(Hello(), Ping(b"x"), Command(1))
    peer.expect_error(Code.FULL, reset_ok=True)
    member.expect_quiet()


def test_hello_and_leave_in_one_segment(room: Server) -> None:
    witness = room.join()
    peer = room.connect()
    peer.send(Hello(), Leave())
    peer.expect(Welcome, rank=1)
    peer.expect_close()
    witness.expect_quiet()
    assert room.join().joined.seq == peer.joined.seq + 2  # a join and a departure


def test_hello_and_half_close(room: Server) -> None:
    peer = room.connect()
    peer.send(Hello(), Who(1))
    peer.half_close()
    peer.expect(Welcome, rank=0)
    peer.expect(Members, id=1)
    peer.expect_close()


def test_a_second_hello(room: Server) -> None:
    peer, junior = room.line(2)
    peer.send(Hello(name="again"))
    peer.expect_error(Code.PROTOCOL)
    junior.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)


def test_a_second_hello_in_the_same_segment(room: Server) -> None:
    peer = room.connect()
    peer.raw(encode_all(Hello(), Ping(b"x"), Hello()))
    peer.expect(Welcome)
    peer.expect(Pong, opaque=b"x")
    peer.expect_error(Code.PROTOCOL)


def test_a_hello_followed_by_a_reset(room: Server) -> None:
    """A connection that is reset right after its HELLO does no harm."""
    witness = room.join()
    for _ in range(20):
        peer = room.connect()
        peer.send(Hello())
        peer.reset()
    deadline = time.monotonic() + DEADLINE_S
    while witness.who().total > 1:  # which would fail on any other frame
        assert time.monotonic() < deadline, "the connections that were reset still hold seats"
    witness.expect_quiet()
