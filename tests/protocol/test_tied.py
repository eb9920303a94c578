"""Section 6, TIED: a command that ends with the connection of its sender."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import (
    QUIET,
    TIED,
    Accepted,
    Cancel,
    Cause,
    Code,
    Command,
    Done,
    Error,
    Execute,
    Rank,
    Routed,
    Status,
    Stop,
    Welcome,
    Yield,
    Yielded,
    encode,
)
from .line import loads, lose

if TYPE_CHECKING:
    from .peer import Peer
    from .process import Server

SECRET = b"0123456789abcdef"
ENDS = {"LEAVE": Cause.LEFT, "half-close": Cause.LEFT, "reset": Cause.LOST, "breach": Cause.EVICTED}


def end(peer: Peer, how: str) -> None:
    if how == "LEAVE":
        peer.leave()
    elif how == "half-close":
        peer.half_close()
    elif how == "reset":
        peer.reset()
    else:
        peer.raw(bytes(4))


@pytest.mark.parametrize("flags", [TIED, TIED | QUIET])
def test_tied_needs_results(room: Server, flags: int) -> None:
    """Section 3: otherwise PROTOCOL, and no member executes."""
    offender, junior = room.line(2)
    offender.raw(encode(Command(1, flags=flags, payload=b"x")))
    offender.expect_error(Code.PROTOCOL)
    junior.expect(Rank, rank=0, cause=Cause.EVICTED)
    junior.expect_quiet()


def test_a_tied_command_is_like_any_other(room: Server) -> None:
    """Section 6: TIED is not part of EXECUTE, and changes nothing while the sender stays."""
    sender, junior = room.line(2)
    sender.command(1, results=True, tied=True, payload=b"x")
    seq = junior.expect(Execute, flags=1, payload=b"x").seq
    sender.expect(Accepted, id=1)
    junior.result(seq)
    sender.expect(Routed, id=1, status=Status.OK)
    sender.expect(Done, id=1, ok=1)
    sender.command(2, results=True, tied=True)
    seq = junior.expect(Execute).seq
    sender.expect(Accepted, id=2)
    sender.send(Cancel(2))
    sender.expect(Routed, id=2, status=Status.CANCELLED)
    sender.expect(Done, id=2, cancelled=1)
    junior.expect(Stop, seq=seq)
    sender.leave()
    junior.expect(Rank)
    junior.expect_quiet()


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "free"])
def test_the_end_of_the_sender(room: Server, how: str, tied: bool) -> None:
    """Section 6: open executors stop if it was tied; without TIED they continue."""
    witness = room.join()
    sender = room.join()
    done, silent = room.line(2)
    sender.command(1, results=True, tied=tied)
    sender.expect(Accepted, id=1, executors=2)
    seq = done.expect(Execute).seq
    silent.expect(Execute)
    done.result(seq)
    sender.expect(Routed, id=1)
    end(sender, how)
    if tied:
        silent.expect(Stop, seq=seq)
    silent.expect(Rank, rank=2, members=3, cause=ENDS[how])
    done.expect(Rank, rank=1, members=3)
    done.expect_quiet()
    silent.expect_quiet()
    assert loads(witness) == [0, 0, 0]  # in both cases no command is pending any more
    silent.result(seq)
    witness.expect_quiet()
    if how in {"LEAVE", "half-close"}:
        assert sender.drain() == []


def test_a_tied_command_and_the_end_in_one_segment(room: Server) -> None:
    """Section 6: it is dispatched, and never begun."""
    sender, junior = room.line(2)
    with room.one_turn():
        sender.command(1, results=True, tied=True, payload=b"never")
        sender.leave()
    seq = junior.expect(Execute, payload=b"never").seq
    junior.expect(Stop, seq=seq)
    junior.expect(Rank, rank=0)
    seen = sender.drain()
    assert [type(frame) for frame in seen] == [Accepted]


def test_a_result_in_the_turn_of_the_end(room: Server) -> None:
    """Section 4: results come first, so that executor has ended, and gets no CANCEL."""
    sender, answers, silent = room.line(3)
    sender.command(1, results=True, tied=True)
    sender.expect(Accepted, id=1)
    seq = answers.expect(Execute).seq
    silent.expect(Execute)
    with room.one_turn():
        sender.leave()
        answers.result(seq, payload=b"last")
    answers.expect(Rank, rank=0)
    answers.expect_quiet()
    silent.expect(Stop, seq=seq)
    silent.expect(Rank, rank=1)
    assert sender.drain() == [Routed(1, answers.ticket, 1, Status.OK, b"last")]


def test_the_commands_of_one_sender_only(room: Server) -> None:
    first, second, junior = room.line(3)
    for sender in (first, second):
        sender.send(Command(1, 1, 2, 1 | TIED))
        sender.expect(Accepted, id=1)
    seqs = [junior.expect(Execute).seq for _ in range(2)]
    first.send(Command(2, 1, 2, 1))  # not tied
    first.expect(Accepted, id=2)
    junior.expect(Execute)
    first.leave()
    junior.expect(Stop, seq=seqs[0])
    junior.expect(Rank, rank=1)
    junior.expect_quiet()
    second.expect(Rank, rank=0)
    assert loads(second) == [0, 1]
    junior.result(seqs[1])
    second.expect(Routed, id=1, status=Status.OK)


def test_sender_and_executor_depart_in_one_turn(room: Server) -> None:
    witness, sender, going, staying = room.line(4)
    sender.command(1, results=True, tied=True)
    sender.expect(Accepted, id=1)
    seq = staying.expect(Execute).seq
    going.expect(Execute)
    with room.one_turn():
        going.leave()
        sender.reset()
    staying.expect(Stop, seq=seq)
    staying.expect(Rank, rank=1, members=2)
    assert loads(witness) == [0, 0]


# Kept seats


def test_an_absence_ends_it(room: Server) -> None:
    """Section 6: no RANK, as no member departed; the sender gets no results after its return."""
    witness = room.join()
    sender = room.keep(SECRET)
    junior = room.join()
    sender.command(1, results=True, tied=True)
    sender.command(2, results=True)
    seqs = [junior.expect(Execute).seq for _ in range(2)]
    lose(witness, sender)
    junior.expect(Stop, seq=seqs[0])
    junior.expect_quiet()
    assert loads(witness) == [0, 0, 0]
    back = room.keep(SECRET)
    junior.result(seqs[1])  # forgotten, though not cancelled
    back.expect_quiet()


def test_a_takeover_ends_it(room: Server) -> None:
    sender = room.keep(SECRET)
    junior = room.join()
    sender.command(1, results=True, tied=True)
    sender.expect(Accepted, id=1)
    seq = junior.expect(Execute).seq
    back = room.keep(SECRET)
    junior.expect(Stop, seq=seq)
    junior.expect_quiet()
    back.expect_quiet()
    sender.expect_error(Code.TAKEN_OVER)


def test_a_takeover_with_a_tied_command_in_one_turn(room: Server) -> None:
    """Section 9: what the old connection sent whole counts, and ends with it."""
    sender = room.keep(SECRET)
    junior = room.join()
    back = room.connect()
    junior.ping()
    with room.one_turn():
        back.send(room.returning(SECRET))
        sender.command(1, results=True, tied=True, payload=b"x")
    seq = junior.expect(Execute, payload=b"x").seq
    junior.expect(Stop, seq=seq)
    back.expect(Welcome, rank=0)
    back.expect_quiet()
    assert [type(frame) for frame in sender.drain()] == [Accepted, Error]


def test_an_absent_executor_of_a_tied_command(room: Server) -> None:
    sender = room.join()
    lost = room.keep(SECRET)
    witness = room.join()
    sender.send(Command(1, 1, 1, 1 | TIED))
    sender.expect(Accepted, id=1)
    seq = lost.expect(Execute).seq
    lose(witness, lost)
    sender.leave()
    witness.expect(Rank, rank=1)
    assert loads(witness) == [0, 0]
    back = room.keep(SECRET, last_seq=seq)
    back.expect_quiet()


# Yield


def test_a_yield_ends_it(room: Server) -> None:
    """Section 10: the yielder gets no ROUTED and no DONE, and the id is free."""
    sender, junior, other = room.line(3)
    sender.command(1, results=True, tied=True)
    sender.expect(Accepted, id=1)
    seq = junior.expect(Execute).seq
    other.expect(Execute)
    sender.send(Yield(5))
    sender.expect(Yielded, id=5, rank=2, members=3)
    sender.expect_quiet()
    junior.expect(Stop, seq=seq)
    junior.expect(Rank, rank=0, cause=Cause.YIELDED)
    other.expect(Stop, seq=seq)
    other.expect(Rank, rank=1, cause=Cause.YIELDED)
    assert loads(sender) == [0, 0, 0]
