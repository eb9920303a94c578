"""Section 6, CANCEL: a command ends early, at its sender and at those that run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import (
    RESULTS,
    U32_MAX,
    Accepted,
    Cancel,
    Done,
    Execute,
    Rank,
    Routed,
    Status,
    Stop,
    Target,
    named,
)
from .line import ask, expect_cancelled, loads, lose

if TYPE_CHECKING:
    from .process import Server

SECRET = b"0123456789abcdef"


# One cancel


def test_a_command_is_cancelled(room: Server) -> None:
    """Section 6: ROUTED for each executor, DONE, and a CANCEL with the seq to each of them."""
    sender, *juniors = room.line(4)
    seq = ask(sender, juniors)
    sender.send(Cancel(1))
    expect_cancelled(sender, 1, juniors)
    sender.expect(Done, id=1, ok=0, failed=0, rejected=0, expired=0, left=0, cancelled=3)
    for junior in juniors:
        junior.expect(Stop, seq=seq)
        junior.expect_quiet()
    sender.expect_quiet()
    assert loads(sender) == [0, 0, 0, 0]


def test_the_rank_in_routed_is_that_of_dispatch(room: Server) -> None:
    sender, leaving, junior = room.line(3)
    seq = ask(sender, [leaving, junior])
    leaving.leave()
    sender.expect(Routed, id=1, ticket=leaving.ticket, rank=1, status=Status.LEFT)
    junior.expect(Rank, rank=1)
    sender.send(Cancel(1))
    sender.expect(Routed, id=1, ticket=junior.ticket, rank=2, status=Status.CANCELLED)
    sender.expect(Done, id=1, left=1, cancelled=1)
    junior.expect(Stop, seq=seq)


def test_only_those_that_have_not_ended(room: Server) -> None:
    """Section 6: an executor with a final result gets no CANCEL; one that sent only PARTs does."""
    sender, done, partly, silent = room.line(4)
    seq = ask(sender, [done, partly, silent])
    done.result(seq, Status.OK, b"mine")
    sender.expect(Routed, id=1, ticket=done.ticket, status=Status.OK)
    partly.result(seq, Status.PART, b"some")
    sender.expect(Routed, id=1, ticket=partly.ticket, status=Status.PART)
    sender.send(Cancel(1))
    expect_cancelled(sender, 1, [partly, silent])
    sender.expect(Done, id=1, ok=1, cancelled=2)
    partly.expect(Stop, seq=seq)
    silent.expect(Stop, seq=seq)
    done.expect_quiet()


@pytest.mark.parametrize("target", ["ONE", "NEXT", "LEAST", "SET"])
def test_a_command_to_some(room: Server, target: str) -> None:
    """Section 6: whatever the target was; no other member is informed."""
    sender, junior, other = room.line(3)
    if target == "SET":
        sender.send(named(1, [junior.ticket], flags=RESULTS))
    else:
        sender.command(1, Target[target], 1 if target == "ONE" else 0, results=True)
    seq = junior.expect(Execute).seq
    sender.expect(Accepted, id=1, executors=1)
    sender.send(Cancel(1))
    expect_cancelled(sender, 1, [junior])
    sender.expect(Done, id=1, cancelled=1)
    junior.expect(Stop, seq=seq)
    other.expect_quiet()


def test_answers_after_the_cancel_are_dropped(room: Server) -> None:
    sender, junior = room.line(2)
    seq = ask(sender, [junior])
    sender.send(Cancel(1))
    expect_cancelled(sender, 1, [junior])
    sender.expect(Done, id=1, cancelled=1)
    junior.expect(Stop, seq=seq)
    for status in (Status.PART, Status.OK, Status.FAILED):
        junior.result(seq, status, b"late")
    junior.expect_quiet()
    sender.expect_quiet()
    assert loads(sender) == [0, 0]


def test_the_id_is_free_again(room: Server) -> None:
    sender, junior = room.line(2)
    for _ in range(3):
        seq = ask(sender, [junior], 7)
        sender.send(Cancel(7))
        expect_cancelled(sender, 7, [junior])
        sender.expect(Done, id=7, cancelled=1)
        junior.expect(Stop, seq=seq)


def test_quiet_does_not_spare_the_cancelled(room: Server) -> None:
    sender, junior = room.line(2)
    sender.command(1, results=True, quiet=True)
    seq = junior.expect(Execute).seq
    sender.send(Cancel(1))
    expect_cancelled(sender, 1, [junior])
    sender.expect(Done, id=1, cancelled=1)
    junior.expect(Stop, seq=seq)


def test_a_cancel_takes_no_seq(room: Server) -> None:
    """Section 1: the next command has the next seq."""
    sender, junior = room.line(2)
    seq = ask(sender, [junior])
    sender.send(Cancel(1), Cancel(99))
    expect_cancelled(sender, 1, [junior])
    sender.expect(Done, id=1)
    junior.expect(Stop, seq=seq)
    assert ask(sender, [junior], 2) == seq + 1


# Ids that do not wait


def test_an_unknown_id_is_ignored(room: Server) -> None:
    """Section 6: silence, whether it never waited, has ended, wanted no results, or is another member's."""
    senior, sender, junior = room.line(3)
    sender.command(1)  # without RESULTS
    sender.expect(Accepted, id=1)
    seq = junior.expect(Execute).seq
    sender.command(2, results=True)
    sender.expect(Accepted, id=2)
    waits = junior.expect(Execute).seq
    sender.command(3, results=True)
    junior.result(junior.expect(Execute).seq)
    sender.expect(Accepted, id=3)
    sender.expect(Routed, id=3)
    sender.expect(Done, id=3)
    assert seq < waits
    sender.send(Cancel(1), Cancel(3), Cancel(0), Cancel(U32_MAX))
    for other in (senior, junior):
        other.send(Cancel(2))
        other.expect_quiet()
    sender.expect_quiet()
    junior.expect_quiet()
    assert loads(senior) == [0, 0, 1]


def test_the_same_cancel_twice(room: Server) -> None:
    sender, junior = room.line(2)
    seq = ask(sender, [junior])
    with room.one_turn():
        sender.send(Cancel(1), Cancel(1))
    sender.send(Cancel(1))
    expect_cancelled(sender, 1, [junior])
    sender.expect(Done, id=1, cancelled=1)
    sender.expect_quiet()
    junior.expect(Stop, seq=seq)
    junior.expect_quiet()


def test_the_same_id_of_two_senders(room: Server) -> None:
    first, second, junior = room.line(3)
    for sender in (first, second):
        sender.command(5, Target.ONE, 2, results=True)
        sender.expect(Accepted, id=5)
    seqs = [junior.expect(Execute).seq for _ in range(2)]
    second.send(Cancel(5))
    expect_cancelled(second, 5, [junior])
    second.expect(Done, id=5, cancelled=1)
    junior.expect(Stop, seq=seqs[1])
    junior.result(seqs[0])
    first.expect(Routed, id=5, status=Status.OK)
    first.expect(Done, id=5, ok=1)


# Absent executors


def test_an_absent_executor_gets_no_cancel(room: Server) -> None:
    """Sections 6 and 9: it ends CANCELLED, and gets no CANCEL after its return."""
    sender = room.join()
    lost = room.keep(SECRET)
    junior = room.join()
    seq = ask(sender, [lost, junior])
    lose(sender, lost)
    sender.send(Cancel(1))
    expect_cancelled(sender, 1, [lost, junior])
    sender.expect(Done, id=1, cancelled=2)
    junior.expect(Stop, seq=seq)
    back = room.keep(SECRET, last_seq=seq)
    back.expect_quiet()
    back.result(seq, Status.OK, b"late")
    sender.expect_quiet()
    assert loads(sender) == [0, 0, 0]
