"""Sections 4 and 6, CANCEL: with other frames and events of its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import (
    QUIET,
    RESULTS,
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
)
from .line import ask, expect_cancelled, loads

if TYPE_CHECKING:
    from .conftest import Serve
    from .process import Server

SECRET = b"0123456789abcdef"


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
    """Section 4: results come before cancels, in any order of arrival."""
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
def test_an_executor_that_departs_in_the_turn_of_the_cancel(room: Server, leaves: bool) -> None:
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
    """Section 6: the sender gets its answers before the end, and the executor stops."""
    sender, junior = room.line(2)
    seq = ask(sender, [junior])
    sender.send(Cancel(1), Leave())
    expect_cancelled(sender, 1, [junior])
    sender.expect(Done, id=1, cancelled=1)
    sender.expect_close()
    junior.expect(Stop, seq=seq)
    junior.expect(Rank, rank=0, cause=Cause.LEFT)


def test_cancels_of_many_commands(room: Server) -> None:
    """Sections 4 and 6: after all EXECUTEs of the turn, as they were sent; DONEs in the order of dispatch."""
    senior, sender, junior = room.line(3)
    with room.one_turn():
        sender.send(*(Command(n, Target.ALL, 0, RESULTS, 0, b"%d" % n) for n in range(20)))
        sender.send(*(Cancel(n) for n in range(19, -1, -2)))
        senior.command(1, Target.ONE, 2, b"mine")
    junior.expect(Execute, sender_rank=0)
    seqs = [junior.expect(Execute, payload=b"%d" % n).seq for n in range(20)]
    stopped = [junior.expect(Stop).seq for _ in range(10)]
    assert stopped == seqs[19::-2]
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


def test_the_place_of_a_cancel_among_the_frames_of_a_turn(room: Server) -> None:
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


def test_a_broken_frame_after_the_cancel(room: Server) -> None:
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
