"""Section 9: a seat that outlives its connection: the request for it, and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..support.patience import until
from .frames import (
    U32_MAX,
    U64_MAX,
    Accepted,
    Cause,
    Code,
    Command,
    Execute,
    Hello,
    How,
    Members,
    Ping,
    Pong,
    Rank,
    Result,
    Routed,
    State,
    Status,
    Who,
    encode,
    resume,
)
from .line import lose, states
from .peer import DEADLINE_S

if TYPE_CHECKING:
    from .conftest import Serve
    from .peer import Peer
    from .process import Server

SECRET = b"0123456789abcdef"
OTHER = b"fedcba9876543210"
THIRD = b"x" * 32


# Asking


@pytest.mark.parametrize("size", range(16, 33))
def test_a_secret_of_16_to_32_bytes(room: Server, size: int) -> None:
    """Section 2: resume blocks of 28 to 44 bytes."""
    secret = bytes(range(255, 255 - size, -1))
    welcome = room.keep(secret).joined
    assert len(welcome.resume) == 5
    assert (welcome.how, welcome.keep_ms, welcome.rank) == (How.NEW, 60_000, 0)


@pytest.mark.parametrize("asked", [1, 59_999, 60_000, 60_001, U32_MAX])
def test_the_keep_is_granted_up_to_the_maximum(room: Server, asked: int) -> None:
    """Section 9: min(asked, keep_max_s), 60 s by default."""
    assert room.keep(SECRET, keep_ms=asked).joined.keep_ms == min(asked, 60_000)


@pytest.mark.parametrize("keep_max_s", [2, 3600])
def test_the_maximum_may_be_set(serve: Serve, keep_max_s: int) -> None:
    server = serve(3, "--keep-max-s", str(keep_max_s))
    assert server.keep(SECRET, keep_ms=U32_MAX).joined.keep_ms == min(keep_max_s * 1000, U32_MAX)
    assert server.keep(OTHER, keep_ms=1500).joined.keep_ms == 1500


def test_without_the_block_there_is_no_keep(room: Server) -> None:
    """Section 9: no block in WELCOME, and the seat ends with the connection."""
    peer, junior = room.line(2)
    assert peer.joined.resume == b""
    peer.reset()
    junior.expect(Rank, rank=0, members=1, cause=Cause.LOST)


def test_a_keep_of_zero_is_an_ordinary_join(room: Server) -> None:
    """Section 9: how = 0, granted 0; the secret is ignored, even that of a held seat."""
    kept = room.keep(SECRET)
    plain = room.connect()
    welcome = plain.hello(resume=resume(SECRET, 0))
    assert (welcome.how, welcome.keep_ms, welcome.rank) == (How.NEW, 0, 1)
    kept.expect_quiet()
    third = room.connect()
    assert third.hello(resume=resume(OTHER, 0)).rank == 2
    assert room.keep(OTHER).joined.how == How.NEW  # no seat is bound to it
    plain.reset()
    third.expect(Rank, rank=1, members=3, cause=Cause.LOST)


def test_a_server_that_keeps_nothing(serve: Serve) -> None:
    """Section 9: with a maximum of 0 every HELLO is an ordinary join."""
    server = serve(3, "--keep-max-s", "0")
    first = server.keep(SECRET)
    assert (first.joined.how, first.joined.keep_ms) == (How.NEW, 0)
    junior = server.join()
    first.reset()
    junior.expect(Rank, rank=0, cause=Cause.LOST)


def test_the_last_seq_of_a_new_seat_does_not_matter(room: Server) -> None:
    welcome = room.keep(SECRET, last_seq=U64_MAX).joined
    assert welcome.how == How.NEW


def test_the_secret_is_not_shown(serve: Serve) -> None:
    """Section 9: not in MEMBERS, and not in the log."""
    server = serve(3)
    kept = server.keep(b"a secret in text", "ada")
    witness = server.join()
    lose(witness, kept)
    witness.who()
    assert b"a secret in text" not in witness.wire
    server.keep(b"a secret in text")
    assert "a secret in text" not in server.log()
    assert b"a secret in text".hex() not in server.log()


# Loss


def cut(server: Server, peer: Peer, how: str) -> None:
    if how == "close":
        peer.close()
    elif how == "half-close":
        peer.half_close()
    elif how == "reset":
        peer.reset()
    else:
        peer.raw(b"\0\0\0")
        peer.half_close()


CUTS = ["close", "half-close", "reset", "inside a frame"]


@pytest.mark.parametrize("how", CUTS)
def test_a_lost_member_is_absent(room: Server, how: str) -> None:
    """Section 9: ticket, rank and name stay, it counts, no rank changes, and no RANK is sent."""
    senior = room.join("s")
    kept = room.keep(SECRET, "k")
    junior = room.join("j")
    base = junior.joined.seq
    with room.one_turn():
        cut(room, kept, how)
    members = senior.who()
    while members.seq == base:
        members = senior.who()
    assert (members.total, members.seq) == (3, base + 1)
    assert [(seat.rank, seat.ticket, seat.name, seat.state) for seat in members.seats] == [
        (0, senior.ticket, "s", State.PRESENT),
        (1, kept.ticket, "k", State.ABSENT),
        (2, junior.ticket, "j", State.PRESENT),
    ]
    assert members.seats[1].address == kept.address
    senior.expect_quiet()
    junior.expect_quiet()


def test_frames_that_arrived_before_the_loss_count(room: Server) -> None:
    senior = room.join()
    kept = room.keep(SECRET)
    junior = room.join()
    senior.command(1, payload=b"ask", results=True)
    seq = kept.expect(Execute).seq
    junior.expect(Execute)
    senior.expect(Accepted)
    with room.one_turn():
        kept.send(Result(seq, Status.OK, b"in time"), Command(2, payload=b"mine"))
        kept.raw(encode(Command(3))[:-1])
        kept.close()
    senior.expect(Routed, id=1, ticket=kept.ticket, status=Status.OK, payload=b"in time")
    junior.expect_execute(1, b"mine")
    junior.expect_quiet()


def test_a_half_closed_connection_still_gets_its_output(room: Server) -> None:
    """Section 9: it ends the connection at once; pending output is sent for a second."""
    kept = room.keep(SECRET)
    junior = room.join()
    kept.send(Who(1), Ping(b"x"), Command(2, payload=b"last"))
    kept.half_close()
    assert [type(frame) for frame in kept.drain()] == [Accepted, Members, Pong]
    junior.expect_execute(0, b"last")
    assert states(junior) == [State.ABSENT, State.PRESENT]
    junior.expect_quiet()


def test_a_silent_member_is_absent(serve: Serve) -> None:
    """Section 9: no sign of life is a loss, and no departure."""
    server = serve(3, "--ping-ms", "200")
    kept = server.connect(answers_pings=False)
    kept.hello(resume=resume(SECRET))
    junior = server.join()
    kept.expect(Ping)
    until(lambda: states(junior) == [State.ABSENT, State.PRESENT], DEADLINE_S, "it is not absent")
    kept.drain()
    junior.expect_quiet()
    assert server.keep(SECRET).joined.how == How.RETURNED


def test_an_absent_member_takes_its_seat(serve: Serve) -> None:
    """Section 9: a room whose seats are all held by absent members is full."""
    server = serve(2)
    eye = server.observe()
    kept = [server.keep(secret) for secret in (SECRET, OTHER)]
    for peer in kept:
        peer.close()
    while states(eye) != [State.ABSENT] * 2:
        pass
    late = server.connect()
    late.send(Hello())
    late.expect_error(Code.FULL)
    assert server.keep(OTHER).joined.rank == 1
    assert eye.who().total == 2


def test_nothing_is_sent_to_an_absent_member(room: Server) -> None:
    """Section 9: no frames are replayed; WELCOME has its new rank."""
    first, second = room.line(2)
    kept = room.keep(SECRET)
    last = room.join()
    lose(second, kept)
    second.command(1, payload=b"not for it")
    second.expect(Accepted, executors=1, absent=1)
    first.leave()
    last.expect_execute(1, b"not for it")
    last.expect(Rank, rank=2, members=3, cause=Cause.LEFT)
    back = room.keep(SECRET)
    assert (back.joined.rank, back.joined.members, back.ticket) == (1, 3, kept.ticket)
    back.expect_quiet()
