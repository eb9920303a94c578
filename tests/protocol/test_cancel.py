"""Section 6, CANCEL: a command ends early, at its sender and at those that run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import (
    QUIET,
    RESULTS,
    U32_MAX,
    Accepted,
    Cancel,
    Cause,
    Command,
    Done,
    Execute,
    Leave,
    Members,
    Ping,
    Pong,
    Rank,
    Refusal,
    Refused,
    Result,
    Routed,
    Status,
    Stop,
    Target,
    Who,
    encode_all,
    named,
)
from .line import loads, lose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .conftest import Serve
    from .peer import Peer
    from .process import Server

SECRET = b"0123456789abcdef"


def ask(sender: Peer, juniors: Sequence[Peer], ident: int = 1, ttl_ms: int = 0) -> int:
    """Send a command to ALL with results; returns its seq."""
    sender.command(ident, payload=b"ask", results=True, ttl_ms=ttl_ms)
    seq = sender.expect(Accepted, id=ident, executors=len(juniors)).seq
    for junior in juniors:
        junior.expect(Execute, seq=seq, flags=1)
    return seq


def expect_cancelled(sender: Peer, ident: int, executors: Sequence[Peer]) -> None:
    """A ROUTED with CANCELLED and no payload for each executor, in any order."""
    routed = [sender.expect(Routed, id=ident, status=Status.CANCELLED, payload=b"") for _ in executors]
    assert sorted(frame.ticket for frame in routed) == [peer.ticket for peer in executors]


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
    """Section 6: one that has answered is not asked to stop; one that sent PARTs is."""
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
    """Section 6: whatever the target was; nobody else hears of it."""
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


def test_answers_behind_the_cancel_are_dropped(room: Server) -> None:
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


# Several things in one turn


def test_command_and_cancel_in_one_segment(room: Server) -> None:
    """Section 6: EXECUTE, then CANCEL; ACCEPTED, ROUTED, DONE."""
    sender, *juniors = room.line(3)
    sender.send(Command(1, Target.ALL, 0, RESULTS, 0, b"never"), Cancel(1))
    sender.expect(Accepted, id=1, executors=2)
    expect_cancelled(sender, 1, juniors)
    sender.expect(Done, id=1, cancelled=2)
    for junior in juniors:
        seq = junior.expect(Execute, payload=b"never").seq
        junior.expect(Stop, seq=seq)
        junior.expect_quiet()


def test_cancel_and_command_with_one_id_in_one_segment(room: Server) -> None:
    """Section 4: commands come before cancels, so the new one is DUPLICATE, and the old one is cancelled."""
    sender, junior = room.line(2)
    seq = ask(sender, [junior], 5)
    with room.one_turn():
        sender.send(Cancel(5), Command(5, Target.ALL, 0, RESULTS, 0, b"again"))
    sender.expect(Refused, id=5, code=Refusal.DUPLICATE)
    expect_cancelled(sender, 5, [junior])
    sender.expect(Done, id=5, cancelled=1)
    junior.expect(Stop, seq=seq)
    junior.expect_quiet()


def test_a_cancel_does_not_make_room_in_its_turn(serve: Serve) -> None:
    """Section 4: BUSY is judged before the cancels of the turn."""
    server = serve(3)
    sender, junior = server.line(2)
    sender.send(*(Command(n, Target.NEXT, 0, RESULTS | QUIET) for n in range(1024)))
    sender.expect_quiet()
    with server.one_turn():
        sender.send(Cancel(0), Command(2000, Target.NEXT, 0, RESULTS))
    sender.expect(Refused, id=2000, code=Refusal.BUSY)
    sender.expect(Routed, id=0, status=Status.CANCELLED)
    sender.expect(Done, id=0)
    sender.command(2000, Target.NEXT, results=True)
    sender.expect(Accepted, id=2000)
    assert junior.expect(Execute).payload == b""


def test_a_result_of_the_same_turn_wins(room: Server) -> None:
    """Section 4: results come before cancels, whoever sent first."""
    sender, answers, silent = room.line(3)
    seq = ask(sender, [answers, silent])
    with room.one_turn():
        sender.send(Cancel(1))
        answers.result(seq, Status.FAILED, b"just in time")
        silent.result(seq, Status.PART, b"part")
    routed = {}
    for _ in range(3):
        frame = sender.expect(Routed, id=1)
        routed.setdefault(frame.ticket, []).append((frame.status, frame.payload))
    assert routed == {
        answers.ticket: [(Status.FAILED, b"just in time")],
        silent.ticket: [(Status.PART, b"part"), (Status.CANCELLED, b"")],
    }
    sender.expect(Done, id=1, failed=1, cancelled=1)
    silent.expect(Stop, seq=seq)
    answers.expect_quiet()


def test_the_last_result_of_the_same_turn_ends_it(room: Server) -> None:
    """Section 6: then the id does not wait, and the CANCEL is ignored."""
    sender, junior = room.line(2)
    seq = ask(sender, [junior])
    with room.one_turn():
        sender.send(Cancel(1))
        junior.result(seq)
    sender.expect(Routed, id=1, status=Status.OK)
    sender.expect(Done, id=1, ok=1, cancelled=0)
    sender.expect_quiet()
    junior.expect_quiet()


@pytest.mark.parametrize("leaves", [True, False], ids=["LEAVE", "reset"])
def test_an_executor_that_goes_in_the_turn_of_the_cancel(room: Server, leaves: bool) -> None:
    """Section 4: cancels come before departures, so it ends CANCELLED and not LEFT."""
    sender, going, junior = room.line(3)
    seq = ask(sender, [going, junior])
    with room.one_turn():
        if leaves:
            going.leave()
        else:
            going.reset()
        sender.send(Cancel(1))
    expect_cancelled(sender, 1, [going, junior])
    sender.expect(Done, id=1, cancelled=2, left=0)
    junior.expect(Stop, seq=seq)
    junior.expect(Rank, rank=1, members=2)
    if leaves:
        assert [frame for frame in going.drain() if not isinstance(frame, Stop)] == []


def test_cancel_and_leave_in_one_segment(room: Server) -> None:
    """Section 6: the sender gets what is owed to it before the end, and the executor stops."""
    sender, junior = room.line(2)
    seq = ask(sender, [junior])
    sender.send(Cancel(1), Leave())
    expect_cancelled(sender, 1, [junior])
    sender.expect(Done, id=1, cancelled=1)
    sender.expect_close()
    junior.expect(Stop, seq=seq)
    junior.expect(Rank, rank=0, cause=Cause.LEFT)


def test_cancels_of_many_commands(room: Server) -> None:
    """Section 4: behind all EXECUTEs of the turn; DONEs in the order of dispatch."""
    senior, sender, junior = room.line(3)
    with room.one_turn():
        sender.send(*(Command(n, Target.ALL, 0, RESULTS, 0, b"%d" % n) for n in range(20)))
        sender.send(*(Cancel(n) for n in range(19, -1, -2)))
        senior.command(1, Target.ONE, 2, b"mine")
    junior.expect(Execute, sender_rank=0)
    seqs = [junior.expect(Execute, payload=b"%d" % n).seq for n in range(20)]
    stopped = [junior.expect(Stop).seq for _ in range(10)]
    assert sorted(stopped) == seqs[1::2]
    junior.expect_quiet()
    for number in range(20):
        sender.expect(Accepted, id=number)
    routed = [sender.expect(Routed, status=Status.CANCELLED).id for _ in range(10)]
    assert sorted(routed) == list(range(1, 20, 2))
    for number in range(1, 20, 2):
        sender.expect(Done, id=number, cancelled=1)
    sender.expect_quiet()
    senior.expect(Accepted, id=1)
    assert loads(senior) == [0, 0, 10]


def test_where_a_cancel_stands_among_the_frames_of_a_turn(room: Server) -> None:
    """Section 4: EXECUTE, CANCEL, RANK, then the answers."""
    senior, sender, junior = room.line(3)
    seq = ask(sender, [junior])
    with room.one_turn():
        junior.send(Who(3), Ping(b"x"), Command(4))
        sender.send(Cancel(1))
        senior.command(1, payload=b"last")
        senior.leave()
    junior.expect(Execute, payload=b"last")
    junior.expect(Stop, seq=seq)
    junior.expect(Rank, rank=1)
    junior.expect(Refused, id=4)
    junior.expect(Members, id=3)
    junior.expect(Pong, opaque=b"x")


def test_a_cancel_frees_the_least_loaded(room: Server) -> None:
    """Section 6: loads fall at once."""
    sender, first, second = room.line(3)
    sender.command(1, Target.ONE, 1, results=True)
    seq = first.expect(Execute).seq
    sender.expect(Accepted, id=1)
    sender.command(2, Target.LEAST)
    sender.expect(Accepted, id=2)
    second.expect(Execute)
    sender.send(Cancel(1))
    sender.expect(Routed, id=1)
    sender.expect(Done, id=1)
    first.expect(Stop, seq=seq)
    sender.command(3, Target.LEAST, payload=b"free")
    first.expect_execute(0, b"free")


def test_a_broken_frame_behind_the_cancel(room: Server) -> None:
    """Section 3: whole frames before a broken one take effect."""
    sender, junior = room.line(2)
    seq = ask(sender, [junior])
    sender.raw(encode_all(Cancel(1)) + bytes(4))
    junior.expect(Stop, seq=seq)
    junior.expect(Rank, rank=0, cause=Cause.EVICTED)


def test_a_result_and_a_cancel_of_different_commands(room: Server) -> None:
    top, middle, bottom = room.line(3)
    seq = ask(top, [middle, bottom])
    middle.command(9, results=True)
    middle.expect(Accepted, id=9)
    other = bottom.expect(Execute, sender_rank=1).seq
    with room.one_turn():
        middle.send(Cancel(9), Result(seq, Status.OK))
        bottom.result(seq, Status.OK)
    middle.expect(Routed, id=9, status=Status.CANCELLED)
    middle.expect(Done, id=9, cancelled=1)
    bottom.expect(Stop, seq=other)
    assert [top.expect(Routed, id=1).status for _ in range(2)] == [Status.OK] * 2
    top.expect(Done, id=1, ok=2)


# Absent executors


def test_an_absent_executor_is_not_told(room: Server) -> None:
    """Sections 6 and 9: it ends CANCELLED, and does not hear of it after its return."""
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
