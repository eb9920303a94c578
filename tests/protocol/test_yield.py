"""Section 10, YIELD: the last place in exchange for one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import (
    U32_MAX,
    Accepted,
    Cause,
    Code,
    Execute,
    Hello,
    Rank,
    Refusal,
    Refused,
    Routed,
    State,
    Status,
    Target,
    Welcome,
    Yield,
    Yielded,
)
from .line import lose, tickets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .conftest import Serve
    from .process import Server

SECRET = b"0123456789abcdef"
OTHER = b"fedcba9876543210"


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


def test_a_member_that_departs_in_the_turn_is_still_below(room: Server) -> None:
    """Section 10: by the ranks before that turn's departures, so the yielder is alone afterwards."""
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
    """Section 10: the last one has no junior, although all others move below it."""
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
