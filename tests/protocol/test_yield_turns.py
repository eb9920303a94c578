"""Section 10, YIELD, with other frames and events of its turn, a keep, and watchers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..support.patience import until
from .frames import (
    WATCH,
    Accepted,
    Cause,
    Changed,
    Code,
    Command,
    Done,
    Error,
    Execute,
    How,
    Leave,
    Members,
    Ping,
    Pong,
    Rank,
    Refusal,
    Refused,
    Result,
    Routed,
    State,
    Status,
    Target,
    Welcome,
    What,
    Who,
    Yield,
    Yielded,
    resume,
)
from .line import loads, lose, states, tickets
from .peer import DEADLINE_S

if TYPE_CHECKING:
    from .process import Server

SECRET = b"0123456789abcdef"
OTHER = b"fedcba9876543210"


# Commands, results and other frames of the turn


def test_commands_before_it_count_and_frames_after_it_wait(room: Server) -> None:
    """Section 10: the first with the old rank, the others in the next turn with the new one."""
    first, second = room.line(2)
    with room.one_turn():
        first.send(Command(1, payload=b"before"), Yield(2), Command(3, payload=b"behind"), Who(4), Ping(b"x"))
    second.expect_execute(0, b"before")
    second.expect(Rank, rank=0, cause=Cause.YIELDED)
    second.expect_quiet()
    first.expect(Accepted, id=1, executors=1, rejected=0)
    first.expect(Yielded, id=2, rank=1)
    first.expect(Refused, id=3, code=Refusal.NO_TARGET)
    first.expect(Members, id=4, total=2)
    first.expect(Pong, opaque=b"x")


def test_two_yields_in_one_segment(room: Server) -> None:
    """Section 10: the second is judged in the next turn, in which it has no junior any more."""
    first, second = room.line(2)
    first.send(Yield(1), Yield(2))
    first.expect(Yielded, id=1, rank=1)
    first.expect(Refused, id=2, code=Refusal.NO_TARGET)
    second.expect(Rank, rank=0)
    second.expect_quiet()


def test_a_command_of_the_turn_still_reaches_it(room: Server) -> None:
    """Section 4: departures come after commands; the results that it owes end LEFT."""
    first, second, third = room.line(3)
    with room.one_turn():
        second.send(Yield(1))
        first.command(1, results=True, payload=b"x")
    seq = second.expect_execute(0, b"x").seq
    second.expect(Yielded, id=1, seq=seq + 2, rank=2)
    first.expect(Accepted, id=1, executors=2)
    first.expect(Routed, id=1, ticket=second.ticket, rank=1, status=Status.LEFT)
    third.expect(Execute, seq=seq)
    third.expect(Rank, rank=1)
    third.result(seq)
    first.expect(Routed, id=1, ticket=third.ticket, rank=2, status=Status.OK)
    first.expect(Done, id=1, ok=1, left=1)


def test_results_that_it_owes_end_left(room: Server) -> None:
    first, second, _ = room.line(3)
    first.command(1, Target.NEXT, results=True)
    first.expect(Accepted)
    seq = second.expect(Execute).seq
    second.send(Yield(1))
    second.expect(Yielded)
    first.expect(Routed, id=1, ticket=second.ticket, rank=1, status=Status.LEFT)
    first.expect(Done, id=1, left=1)
    second.result(seq)
    first.expect_quiet()
    assert loads(first) == [0, 0, 0]


def test_a_result_of_the_turn_counts(room: Server) -> None:
    first, second, _ = room.line(3)
    first.command(1, Target.NEXT, results=True)
    first.expect(Accepted)
    seq = second.expect(Execute).seq
    with room.one_turn():
        second.send(Result(seq, Status.OK, b"done"), Yield(1))
    first.expect(Routed, id=1, status=Status.OK, payload=b"done")
    first.expect(Done, id=1, ok=1)
    second.expect(Yielded, id=1)


def test_its_pending_commands_are_forgotten(room: Server) -> None:
    """Section 10: no ROUTED, no DONE; the executor continues, and the id is free."""
    first, second = room.line(2)
    first.command(7, results=True)
    first.expect(Accepted, id=7)
    seq = second.expect(Execute).seq
    first.send(Yield(1))
    first.expect(Yielded)
    second.expect(Rank)
    assert loads(second) == [0, 0]
    second.result(seq)
    first.expect_quiet()
    late = room.join()
    first.command(7, results=True)
    first.expect(Accepted, id=7)
    late.expect(Execute)


def test_the_place_of_yielded_among_the_answers(room: Server) -> None:
    """Section 4: EXECUTE, then ACCEPTED, REFUSED, ROUTED, DONE, YIELDED."""
    senior, member, junior = room.line(3)
    member.command(1, results=True)
    member.expect(Accepted)
    seq = junior.expect(Execute).seq
    with room.one_turn():
        senior.command(1, payload=b"x")
        member.send(Who(5), Ping(b"p"), Command(2), Command(3, Target.ONE, 9), Yield(4))
        junior.result(seq)
    member.expect(Execute, payload=b"x")
    member.expect(Accepted, id=2)
    member.expect(Refused, id=3)
    member.expect(Routed, id=1, status=Status.OK)
    member.expect(Done, id=1)
    member.expect(Yielded, id=4)
    member.expect(Members, id=5)
    member.expect(Pong, opaque=b"p")
    member.expect_quiet()


# Void


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not kept"])
def test_the_end_of_the_connection_in_that_turn(room: Server, how: str, kept: bool) -> None:
    """Section 10: the YIELD is void, or the end comes after it; a kept seat stays in both cases, any other ends."""
    peer = room.keep(SECRET) if kept else room.join()
    junior = room.join()
    base = junior.joined.seq
    with room.one_turn():
        peer.send(Yield(1))
        {"close": peer.close, "half-close": peer.half_close, "reset": peer.reset}[how]()
    eye = room.observe()
    while (members := eye.who()).total == 2 and State.ABSENT not in [seat.state for seat in members.seats]:
        pass
    ranks = junior.settle()
    if members.seq == base + 1:  # void
        assert [seat.ticket for seat in members.seats] == [peer.ticket] * kept + [junior.ticket]
        cause = Cause.LOST if how == "reset" else Cause.LEFT
        assert ranks == ([] if kept else [Rank(base + 1, 0, 1, cause)])
    else:
        assert members.seq == base + 3
        tickets = [junior.ticket] + [junior.ticket + 1] * kept
        assert [seat.ticket for seat in members.seats] == tickets
        assert ranks == [Rank(base + 1, 0, 1, Cause.YIELDED)]
    if how == "half-close":
        assert [type(frame) for frame in peer.drain()] in ([], [Yielded])


def test_leave_after_it(room: Server) -> None:
    """Section 10: in one turn the YIELD is void, in two a departure follows; the line ends up the same."""
    peer, junior = room.line(2)
    with room.one_turn():
        peer.send(Yield(1), Leave())
    rank = junior.expect(Rank, rank=0, members=1)
    assert rank.cause in {Cause.LEFT, Cause.YIELDED}
    junior.expect_quiet()
    junior.wait_for_total(1)


def test_a_takeover_gets_the_old_ticket(room: Server) -> None:
    """Section 10: void, without an answer, and without a RANK for those below."""
    old = room.keep(SECRET)
    junior = room.join()
    base = junior.joined.seq
    new = room.connect()
    junior.ping()
    with room.one_turn():
        old.send(Yield(1))
        new.send(room.returning(SECRET))
    new.expect(Welcome, ticket=old.ticket, seq=base + 1, rank=0, members=2)
    junior.expect_quiet()
    assert [type(frame) for frame in old.drain()] == [Error]
    assert tickets(junior) == [old.ticket, junior.ticket]


def test_a_breach_after_it(room: Server) -> None:
    """Section 3: the broken frame is read in the next turn; the member departs, and the others receive both changes."""
    peer, junior = room.line(2)
    with room.one_turn():
        peer.send(Yield(1))
        peer.raw(bytes(4))
    assert junior.expect(Rank, rank=0, members=1).cause in {Cause.EVICTED, Cause.YIELDED}
    last = peer.drain()[-1]
    assert isinstance(last, Error)
    assert last.code == Code.PROTOCOL
    junior.wait_for_total(1)


# Keep, watch


def test_secret_and_keep_stay(room: Server) -> None:
    """Section 10: the seat is found again, with the new ticket."""
    peer = room.keep(SECRET, "y", keep_ms=30_000)
    junior = room.join()
    peer.send(Yield(1))
    ticket = peer.expect(Yielded).ticket
    junior.expect(Rank)
    peer.close()
    until(lambda: states(junior) == [State.PRESENT, State.ABSENT], DEADLINE_S, "it is not absent")
    back = room.keep(SECRET)
    assert (back.joined.how, back.ticket, back.joined.rank) == (How.RETURNED, ticket, 1)
    junior.expect_quiet()


def test_a_keep_that_stays_runs_out(room: Server) -> None:
    peer = room.keep(SECRET, keep_ms=200)
    second, third = room.line(2)
    peer.send(Yield(1))
    peer.expect(Yielded, rank=2)
    last = room.join()
    second.expect(Rank, rank=0)
    third.expect(Rank, rank=1)
    peer.close()
    last.expect(Rank, rank=2, members=3, cause=Cause.LOST)


def test_a_yield_and_a_return_in_one_turn(room: Server) -> None:
    """Section 4: returns come before the join of a yield."""
    first = room.join()
    lost = room.keep(SECRET)
    last = room.join()
    lose(last, lost)
    base = last.who().seq
    back = room.connect()
    last.ping()
    with room.one_turn():
        back.send(room.returning(SECRET))
        first.send(Yield(1))
    back.expect(Welcome, seq=base + 2, ticket=lost.ticket, rank=0, members=2)
    first.expect(Yielded, seq=base + 3, rank=2, members=3)
    last.expect(Rank, seq=base + 1, rank=1, members=2, cause=Cause.YIELDED)


def test_watchers_of_two_yields(room: Server) -> None:
    """Section 8: both 7, then both 1, the yielder's own among them."""
    first = room.connect()
    first.hello("w", flags=WATCH)
    second, third = room.line(2)
    first.settle()
    base = third.joined.seq
    with room.one_turn():
        second.send(Yield(2))
        first.send(Yield(1))
    for number, (peer, rank) in enumerate(((first, 0), (second, 1)), start=1):
        first.expect(Changed, seq=base + number, what=What.YIELDED, ticket=peer.ticket, rank=rank, members=1)
    for number in range(2):
        first.expect(Changed, seq=base + 3 + number, what=What.JOINED, rank=1 + number, members=2 + number)
    first.expect(Yielded, id=1, seq=base + 3)
    second.expect(Yielded, id=2, seq=base + 4)


def test_resume_of_a_yielder_that_missed_its_answer(room: Server) -> None:
    """Section 13: WELCOME has a larger ticket than the one that it knew."""
    peer = room.keep(OTHER)
    junior = room.join()
    peer.send(Yield(1))
    junior.expect(Rank, rank=0)
    lost = room.connect()
    welcome = lost.hello(resume=resume(OTHER))
    room.promise(OTHER)
    assert welcome.how == How.RETURNED
    assert welcome.ticket > junior.ticket
