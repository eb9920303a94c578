"""Section 9: how a kept seat ends: its keep runs out, LEAVE, or an ERROR of the server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .frames import (
    RESULTS,
    Accepted,
    Cause,
    Code,
    Command,
    How,
    Leave,
    Rank,
    State,
    Target,
    Welcome,
    resume,
)
from .line import lose, states

if TYPE_CHECKING:
    from .conftest import Serve
    from .process import Server

SECRET = b"0123456789abcdef"
OTHER = b"fedcba9876543210"
THIRD = b"x" * 32


# The end of a seat


@pytest.mark.parametrize("keep_ms", [1, 200])
def test_a_keep_runs_out(room: Server, keep_ms: int) -> None:
    """Section 9: a departure with cause 2, not before its time."""
    first = room.join()
    kept = room.keep(SECRET, keep_ms=keep_ms)
    junior = room.join()
    base = junior.joined.seq
    began = time.monotonic()
    kept.close()
    junior.expect(Rank, seq=base + 2, rank=1, members=2, cause=Cause.LOST)
    assert keep_ms / 1000 <= time.monotonic() - began + 0.001 < keep_ms / 1000 + 1.5
    first.expect_quiet()
    assert first.who().total == 2
    again = room.keep(SECRET)
    assert (again.joined.how, again.joined.rank) == (How.NEW, 2)
    assert again.ticket > junior.ticket


def test_a_present_member_has_no_deadline(room: Server) -> None:
    """Section 9: the keep counts from the loss."""
    kept = room.keep(SECRET, keep_ms=100)
    witness = room.join()
    time.sleep(0.3)
    witness.ping()
    lose(witness, kept)
    back = room.keep(SECRET, keep_ms=100)
    assert back.joined.how == How.RETURNED
    time.sleep(0.3)
    assert states(witness) == [State.PRESENT, State.PRESENT]
    witness.expect_quiet()


def test_two_keeps_run_out_in_their_order(room: Server) -> None:
    first = room.keep(SECRET, keep_ms=600)
    second = room.keep(OTHER, keep_ms=200)
    junior = room.join()
    first.close()
    second.close()
    junior.expect(Rank, rank=1, members=2, cause=Cause.LOST)
    assert junior.who().seats[0].ticket == first.ticket
    junior.expect(Rank, rank=0, members=1, cause=Cause.LOST)


def test_a_return_in_the_turn_in_which_the_keep_runs_out(room: Server) -> None:
    """Section 4: the return comes first."""
    witness = room.join()
    kept = room.keep(SECRET, keep_ms=400)
    junior = room.join()
    lose(witness, kept)
    back = room.connect()
    witness.ping()
    room.pause()
    time.sleep(0.6)
    back.send(room.returning(SECRET))
    room.resume()
    welcome = back.expect(Welcome)
    assert (welcome.how, welcome.ticket, welcome.rank) == (How.RETURNED, kept.ticket, 1)
    junior.expect_quiet()


def test_leave_ends_a_kept_seat(room: Server) -> None:
    """Section 9: at once, with cause 1; the secret is unknown afterwards."""
    kept = room.keep(SECRET)
    junior = room.join()
    kept.leave()
    kept.expect_close()
    junior.expect(Rank, rank=0, members=1, cause=Cause.LEFT)
    again = room.keep(SECRET)
    assert (again.joined.how, again.joined.rank) == (How.NEW, 1)


def test_leave_and_the_end_in_one_turn(room: Server) -> None:
    kept = room.keep(SECRET)
    junior = room.join()
    with room.one_turn():
        kept.send(Leave())
        kept.close()
    junior.expect(Rank, rank=0, members=1, cause=Cause.LEFT)


def test_leave_and_a_new_hello_in_one_turn(room: Server) -> None:
    """Section 9: departures come before returns, so it is an ordinary join."""
    kept = room.keep(SECRET)
    junior = room.join()
    door = room.connect()
    junior.ping()
    with room.one_turn():
        door.send(room.returning(SECRET))
        kept.leave()
    junior.expect(Rank, rank=0, members=1, cause=Cause.LEFT)
    welcome = door.expect(Welcome)
    assert (welcome.how, welcome.rank, welcome.members) == (How.NEW, 1, 2)
    assert welcome.ticket > junior.ticket
    kept.expect_close()


@pytest.mark.parametrize(
    ("wire", "code"),
    [(bytes(4), Code.PROTOCOL), (b"\xff" * 4, Code.TOO_BIG), (b"\0\0\0\1\xff", Code.UNSUPPORTED)],
    ids=["PROTOCOL", "TOO_BIG", "UNSUPPORTED"],
)
def test_an_error_ends_a_kept_seat(room: Server, wire: bytes, code: Code) -> None:
    """Section 9: at once, with cause 3."""
    kept = room.keep(SECRET)
    junior = room.join()
    kept.raw(wire)
    kept.expect_error(code)
    junior.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)
    assert room.keep(SECRET).joined.how == How.NEW


def test_a_stalled_frame_ends_a_kept_seat(serve: Serve) -> None:
    server = serve(3, "--frame-timeout-s", "1")
    kept = server.keep(SECRET)
    junior = server.join()
    kept.raw(b"\0\0\1\0\2")
    kept.expect_error(Code.TIMEOUT)
    junior.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)
    assert server.keep(SECRET).joined.how == How.NEW


def test_a_slow_reader_s_kept_seat_ends(serve: Serve) -> None:
    """Section 9: SLOW is an ERROR of the server, so the member departs and is not absent."""
    server = serve(3, "--write-timeout-s", "1")
    sender = server.join()
    slow = server.connect(receive_buffer=4096)
    slow.hello(resume=resume(SECRET))
    junior = server.join()
    sender.sock.settimeout(20)
    for number in range(60):
        sender.send(Command(number, Target.ONE, 1, RESULTS, 0, bytes(65_536)))
        answer = sender.recv()
        if not isinstance(answer, Accepted):
            break
    junior.expect(Rank, rank=1, members=2, cause=Cause.EVICTED)
