"""Section 10, YIELD: the last place in exchange for one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..support.patience import until
from .frames import (
    U32_MAX,
    WATCH,
    Accepted,
    Cause,
    Changed,
    Code,
    Command,
    Done,
    Error,
    Execute,
    Hello,
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
from .line import loads, lose, states
from .peer import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .conftest import Serve
    from .peer import Peer
    from .process import Server

SECRET = b"0123456789abcdef"
OTHER = b"fedcba9876543210"


def tickets(peer: Peer) -> list[int]:
    return [seat.ticket for seat in peer.who().seats]


# One


@pytest.mark.parametrize("rank", range(3))
def test_the_last_place_under_a_new_ticket(room: Server, rank: int) -> None:
    """Section 10: departure and join, with a seq each; YIELDED has the join's."""
    line = room.line(4)
    base = line[-1].joined.seq
    line[rank].send(Yield(9))
    yielded = line[rank].expect(Yielded, id=9, seq=base + 2, rank=3, members=4)
    assert yielded.ticket == line[-1].ticket + 1
    for number in range(4):
        if number > rank:
            line[number].expect(Rank, seq=base + 1, rank=number - 1, members=3, cause=Cause.YIELDED)
        line[number].expect_quiet()
    others = [peer.ticket for number, peer in enumerate(line) if number != rank]
    assert tickets(line[-1]) == [*others, yielded.ticket]
    late = room.join()
    assert (late.ticket, late.joined.rank, late.joined.seq) == (yielded.ticket + 1, 4, base + 3)


def test_it_is_still_the_same_member(room: Server) -> None:
    """Section 10: name, address and connection stay; it executes, and no longer commands those above."""
    first, second = room.join("one"), room.join("two")
    first.send(Yield(1))
    ticket = first.expect(Yielded, rank=1, members=2).ticket
    second.expect(Rank, rank=0, members=1, cause=Cause.YIELDED)
    members = second.who()
    assert [(seat.name, seat.ticket) for seat in members.seats] == [("two", second.ticket), ("one", ticket)]
    assert members.seats[1].address == first.address
    second.command(1, payload=b"now I", results=True)
    seq = first.expect_execute(0, b"now I").seq
    second.expect(Accepted, executors=1)
    first.result(seq)
    second.expect(Routed, ticket=ticket, rank=1, status=Status.OK)
    first.command(2, Target.ONE, 0)
    first.expect(Refused, id=2, code=Refusal.NOT_LOWER)


def test_round_and_round(room: Server) -> None:
    line = room.line(3)
    for _ in range(6):
        line[0].send(Yield(1))
        line[0].expect(Yielded, rank=2, members=3)
        line.append(line.pop(0))
        line[0].expect(Rank, rank=0, cause=Cause.YIELDED)
        line[1].expect(Rank, rank=1, cause=Cause.YIELDED)


@pytest.mark.parametrize("ident", [0, 1, U32_MAX])
def test_the_id_is_echoed(room: Server, ident: int) -> None:
    first, second = room.line(2)
    first.send(Yield(ident))
    first.expect(Yielded, id=ident)
    second.expect(Rank)
    first.send(Yield(ident))
    first.expect(Refused, id=ident, code=Refusal.NO_TARGET)


def test_the_id_of_a_waiting_command_does_not_matter(room: Server) -> None:
    """Section 10: DUPLICATE is for commands."""
    first, second = room.line(2)
    first.command(5, results=True)
    first.expect(Accepted, id=5)
    second.expect(Execute)
    first.send(Yield(5))
    first.expect(Yielded, id=5)


# Refused


def test_nobody_below(room: Server) -> None:
    """Section 10: alone, or the last; nothing changes."""
    first = room.join()
    first.send(Yield(1))
    assert first.expect(Refused, id=1, code=Refusal.NO_TARGET).text
    second = room.join()
    second.send(Yield(2))
    second.expect(Refused, id=2, code=Refusal.NO_TARGET)
    assert tickets(first) == [first.ticket, second.ticket]
    assert first.who().seq == second.joined.seq


def test_only_absent_ones_below(room: Server) -> None:
    """Section 10: NO_TARGET, not ABSENT."""
    first, second = room.line(2)
    lost = room.keep(SECRET)
    lose(first, lost)
    second.send(Yield(1))
    second.expect(Refused, id=1, code=Refusal.NO_TARGET)
    first.send(Yield(2))
    first.expect(Yielded, id=2, rank=2, members=3)
    second.expect(Rank, rank=0, cause=Cause.YIELDED)
    assert [seat.state for seat in second.who().seats] == [State.PRESENT, State.ABSENT, State.PRESENT]


def test_a_newcomer_of_the_turn_is_not_below_yet(room: Server) -> None:
    """Section 10: judged as a command is."""
    first = room.join()
    late = room.connect()
    first.ping()
    with room.one_turn():
        late.send(Hello())
        first.send(Yield(1))
    first.expect(Refused, id=1, code=Refusal.NO_TARGET)
    late.expect(Welcome, rank=1)


def test_one_that_goes_in_the_turn_is_still_below(room: Server) -> None:
    """Section 10: by the ranks before that turn's departures, so it yields to nobody."""
    first, second = room.line(2)
    base = second.joined.seq
    with room.one_turn():
        second.leave()
        first.send(Yield(1))
    yielded = first.expect(Yielded, id=1, seq=base + 3, rank=0, members=1)
    assert yielded.ticket == second.ticket + 1
    first.expect_quiet()
    assert tickets(first) == [yielded.ticket]


# Several in one turn


@pytest.mark.parametrize("gone", [(0, 1), (1, 0), (0, 2), (2, 0), (0, 1, 2), (2, 1, 0)], ids=str)
def test_several_yield_in_the_order_of_their_ranks(room: Server, gone: Sequence[int]) -> None:
    line = room.line(4)
    base = line[-1].joined.seq
    with room.one_turn():
        for rank in gone:
            line[rank].send(Yield(rank))
    behind = 4 - len(gone)
    for number, rank in enumerate(sorted(gone)):
        line[rank].expect(
            Yielded,
            id=rank,
            seq=base + len(gone) + 1 + number,
            ticket=line[-1].ticket + 1 + number,
            rank=behind + number,
            members=behind + number + 1,
        )
        line[rank].expect_quiet()
    staying = [rank for rank in range(4) if rank not in gone]
    for new, rank in enumerate(staying):
        if new != rank:
            line[rank].expect(Rank, seq=base + len(gone), rank=new, members=behind, cause=Cause.YIELDED)
        line[rank].expect_quiet()


def test_all_of_a_line_but_the_last_refused(room: Server) -> None:
    """Section 10: the last one has nobody below, although all others go behind it."""
    line = room.line(3)
    with room.one_turn():
        for peer in reversed(line):
            peer.send(Yield(1))
    line[2].expect(Rank, rank=0, members=1, cause=Cause.YIELDED)
    line[2].expect(Refused, id=1, code=Refusal.NO_TARGET)
    line[0].expect(Yielded, rank=1, members=2)
    line[1].expect(Yielded, rank=2, members=3)


def test_yields_come_before_joins(serve: Serve) -> None:
    """Section 10: and the seat is never free in between."""
    server = serve(2)
    first, second = server.line(2)
    base = second.joined.seq
    late = server.connect()
    first.ping()
    with server.one_turn():
        late.send(Hello())
        first.send(Yield(1))
    late.expect_error(Code.FULL)
    first.expect(Yielded, seq=base + 2, rank=1, members=2)


def test_a_yield_and_a_join_in_one_turn(room: Server) -> None:
    first, second = room.line(2)
    base = second.joined.seq
    late = room.connect()
    first.ping()
    with room.one_turn():
        late.send(Hello())
        first.send(Yield(1))
    first.expect(Yielded, seq=base + 2, rank=1, members=2)
    late.expect(Welcome, seq=base + 3, rank=2, members=3)
    second.expect(Rank, seq=base + 1, rank=0, members=1, cause=Cause.YIELDED)


def test_the_cause_is_the_nearest_senior_s(room: Server) -> None:
    """Section 4: with yields among the departures."""
    line = room.line(5)
    base = line[-1].joined.seq
    with room.one_turn():
        line[0].leave()
        line[2].send(Yield(1))
    line[1].expect(Rank, seq=base + 2, rank=0, members=3, cause=Cause.LEFT)
    line[3].expect(Rank, seq=base + 2, rank=1, members=3, cause=Cause.YIELDED)
    line[4].expect(Rank, seq=base + 2, rank=2, members=3, cause=Cause.YIELDED)
    line[2].expect(Yielded, seq=base + 3, rank=3, members=4)


# Commands, results and other frames of the turn


def test_commands_before_it_count_and_frames_behind_it_wait(room: Server) -> None:
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
    """Section 10: the second is judged in the next turn, where nobody is below any more."""
    first, second = room.line(2)
    first.send(Yield(1), Yield(2))
    first.expect(Yielded, id=1, rank=1)
    first.expect(Refused, id=2, code=Refusal.NO_TARGET)
    second.expect(Rank, rank=0)
    second.expect_quiet()


def test_a_command_of_the_turn_still_reaches_it(room: Server) -> None:
    """Section 4: departures come behind commands; what it owes ends LEFT."""
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


def test_what_it_owes_ends_left(room: Server) -> None:
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


def test_what_it_waits_for_is_forgotten(room: Server) -> None:
    """Section 10: no ROUTED, no DONE; the executor goes on, and the id is free."""
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


def test_where_yielded_stands_among_the_answers(room: Server) -> None:
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
    """Section 10: the YIELD is void, or the end comes after it; a kept seat stays in both cases, another one ends."""
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


def test_leave_behind_it(room: Server) -> None:
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


def test_a_breach_behind_it(room: Server) -> None:
    """Section 3: the broken frame is read in the next turn; the member departs, and the others hear of both."""
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
    """Section 4: returns come before the coming half of a yield."""
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
