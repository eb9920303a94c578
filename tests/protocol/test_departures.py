"""Section 4: departures in a turn, after its commands, and how ranks move up.

The server is stopped while the peers act, so that it finds all their data at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import Accepted, Cause, Done, Execute, Rank, Refusal, Refused, Routed, Status, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .peer import Peer
    from .process import Server


ENDS = [Cause.LEFT, Cause.LOST, Cause.EVICTED]  # of a connection; YIELDED is in test_yield.py


def go(peer: Peer, cause: Cause) -> None:
    """End a connection in the way that has this cause."""
    if cause == Cause.LEFT:
        peer.leave()
    elif cause == Cause.LOST:
        peer.reset()
    else:
        peer.raw(bytes(4))


# Commands, then departures


@pytest.mark.parametrize("cause", ENDS)
def test_a_command_goes_out_before_its_sender_does(room: Server, cause: Cause) -> None:
    line = room.line(3)
    base = line[2].joined.seq
    with room.one_turn():
        line[1].command(2, payload=b"second")
        line[0].command(1, payload=b"last will")
        go(line[0], cause)
    for peer, rank in ((line[1], 0), (line[2], 1)):
        peer.expect(Execute, seq=base + 1, sender_rank=0, payload=b"last will")
        if rank == 1:
            peer.expect(Execute, seq=base + 2, sender_rank=1, payload=b"second")
        peer.expect(Rank, seq=base + 3, rank=rank, members=2, cause=cause)
    line[1].expect(Accepted, id=2, seq=base + 2, executors=1, rejected=1)


def test_a_command_goes_by_the_ranks_before_the_departures(room: Server) -> None:
    line = room.line(4)
    with room.one_turn():
        line[0].leave()
        line[2].command(1, Target.ONE, 2)  # its own rank until the turn ends
        line[2].command(2, Target.ONE, 1)  # its own rank afterwards
        line[2].command(3, Target.ONE, 3, b"down")
        line[1].command(4, Target.ONE, 2, b"down")
    line[3].expect_execute(2, b"down")
    line[3].expect(Rank, rank=2, members=3, cause=Cause.LEFT)
    line[2].expect_execute(1, b"down")
    line[2].expect(Rank, rank=1, members=3)
    line[2].expect(Accepted, id=3)
    line[2].expect(Refused, id=1, code=Refusal.NOT_LOWER)
    line[2].expect(Refused, id=2, code=Refusal.NOT_LOWER)
    line[1].expect(Rank, rank=0, members=3)
    line[1].expect(Accepted, id=4)


@pytest.mark.parametrize("cause", ENDS)
def test_a_command_reaches_an_executor_that_departs_in_the_same_turn(room: Server, cause: Cause) -> None:
    sender, going, junior = room.line(3)
    with room.one_turn():
        go(going, cause)
        sender.command(1, payload=b"for both", results=True)
    execute = junior.expect_execute(0, b"for both")
    junior.expect(Rank, rank=1, members=2, cause=cause)
    sender.expect(Accepted, id=1, executors=2)
    sender.expect(Routed, id=1, ticket=going.ticket, rank=1, status=Status.LEFT)
    junior.result(execute.seq)
    sender.expect(Routed, id=1, ticket=junior.ticket, rank=2, status=Status.OK)
    sender.expect(Done, id=1, ok=1, left=1)


def test_a_member_that_leaves_gets_the_commands_before(room: Server) -> None:
    senior, going, _ = room.line(3)
    with room.one_turn():
        going.leave()
        senior.command(1, payload=b"still yours")
    going.expect_execute(0, b"still yours")
    going.expect_close()


# Departures among themselves


@pytest.mark.parametrize("cause", ENDS)
def test_one_departure(room: Server, cause: Cause) -> None:
    line = room.line(5)
    base = line[-1].joined.seq
    go(line[2], cause)
    for rank in (2, 3):
        line[rank + 1].expect(Rank, seq=base + 1, rank=rank, members=4, cause=cause)
    for peer in (line[0], line[1], line[3], line[4]):
        peer.expect_quiet()


@pytest.mark.parametrize(
    "gone",
    [(0,), (5,), (0, 1), (4, 5), (1, 3), (0, 2, 4), (1, 2, 3, 4), (0, 1, 2, 3, 4), (0, 1, 3, 4, 5), (3, 5)],
    ids=str,
)
def test_departures_of_a_turn_close_the_ranks_up_at_once(room: Server, gone: Sequence[int]) -> None:
    """One RANK for each member whose rank changed, nothing for the others."""
    line = room.line(6)
    base = line[-1].joined.seq
    with room.one_turn():
        for rank in reversed(gone):
            line[rank].leave()
    left = [rank for rank in range(6) if rank not in gone]
    for new, old in enumerate(left):
        if new != old:
            line[old].expect(Rank, seq=base + len(gone), rank=new, members=len(left), cause=Cause.LEFT)
        line[old].expect_quiet()
    seats = line[left[0]].who().seats
    assert [seat.ticket for seat in seats] == [line[old].ticket for old in left]
    for rank in gone:
        line[rank].expect_close()


def test_the_cause_is_the_last_senior_s(room: Server) -> None:
    line = room.line(7)
    base = line[-1].joined.seq
    with room.one_turn():
        go(line[4], Cause.EVICTED)
        go(line[2], Cause.LEFT)
        go(line[0], Cause.LOST)
    told = {"members": 4, "seq": base + 3}
    line[1].expect(Rank, rank=0, cause=Cause.LOST, **told)
    line[3].expect(Rank, rank=1, cause=Cause.LEFT, **told)
    line[5].expect(Rank, rank=2, cause=Cause.EVICTED, **told)
    line[6].expect(Rank, rank=3, cause=Cause.EVICTED, **told)


def test_departures_of_two_turns_give_two_rank_frames(room: Server) -> None:
    line = room.line(4)
    line[0].leave()
    line[0].expect_close()
    line[3].expect(Rank, rank=2, members=3)
    line[1].reset()
    line[3].expect(Rank, rank=1, members=2, cause=Cause.LOST)
    line[2].expect(Rank, rank=1, members=3, cause=Cause.LEFT)
    line[2].expect(Rank, rank=0, members=2, cause=Cause.LOST)


def test_ranks_have_no_gaps_after_any_departures(room: Server) -> None:
    """The model is a plain list: departures are removed, joins are appended."""
    model = room.line(8)
    for step in range(30):
        gone = model.pop((step * 5) % len(model))
        go(gone, ENDS[step % 3])
        if step % 3:
            model.append(room.join())
        if len(model) < 3:
            model += room.line(4)
        members = model[0].wait_for_total(len(model))
        assert [seat.ticket for seat in members.seats] == [peer.ticket for peer in model]
