"""Sections 5 and 9: commands while some members are absent, and a line led by one."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from .frames import (
    Accepted,
    Cause,
    Code,
    Command,
    Done,
    Error,
    Execute,
    Rank,
    Refusal,
    Refused,
    Routed,
    Status,
    Target,
    Welcome,
    named,
)
from .line import executors, loads, lose

if TYPE_CHECKING:
    from .conftest import Serve
    from .peer import Peer
    from .process import Server

SECRET = b"0123456789abcdef"
OTHER = b"fedcba9876543210"
THIRD = b"x" * 32


# Commands and absent members


@pytest.fixture
def gap(room: Server) -> list[Peer]:
    """Five members, of which those with rank 1 and 3 are absent."""
    first = room.join()
    one = room.keep(SECRET)
    middle = room.join()
    three = room.keep(OTHER)
    last = room.join()
    lose(first, one, three)
    return [first, one, middle, three, last]


def test_all_passes_over_absent_ones(gap: list[Peer]) -> None:
    """Section 5: executors + rejected + absent + 1 = members; absent seniors are among the rejected."""
    first, _, middle, _, last = gap
    first.command(1, payload=b"x")
    first.expect(Accepted, id=1, executors=2, rejected=0, absent=2)
    middle.expect_execute(0, b"x")
    middle.command(2, payload=b"y")
    middle.expect(Accepted, id=2, executors=1, rejected=2, absent=1)
    last.expect_execute(0, b"x")
    last.expect_execute(2, b"y")
    last.command(3)
    last.expect(Refused, id=3, code=Refusal.NO_TARGET)


def test_one_and_next_at_an_absent_one(gap: list[Peer]) -> None:
    """Section 5: ABSENT; NEXT does not look further."""
    first, _, middle, _, last = gap
    attempts = [
        (first, Command(1, Target.NEXT), Refusal.ABSENT),
        (first, Command(2, Target.ONE, 1), Refusal.ABSENT),
        (first, Command(3, Target.ONE, 3), Refusal.ABSENT),
        (middle, Command(4, Target.NEXT), Refusal.ABSENT),
        (middle, Command(5, Target.ONE, 1), Refusal.NOT_LOWER),
        (last, Command(6, Target.ONE, 3), Refusal.NOT_LOWER),
        (first, Command(7, Target.ONE, 5), Refusal.NO_SUCH_RANK),
    ]
    for sender, command, code in attempts:
        sender.send(command)
        assert sender.expect(Refused, id=command.id, code=code).text
    first.command(8, Target.ONE, 4, b"x")
    first.expect(Accepted, id=8, executors=1, rejected=0, absent=0)
    assert executors([first, middle, last]) == [2]


def test_least_ignores_absent_ones(room: Server) -> None:
    """Section 5: although their load is the smallest."""
    sender = room.join()
    lost = room.keep(SECRET)
    busy = room.join()
    lose(sender, lost)
    for number in range(3):
        sender.command(number, Target.LEAST, results=True)
        sender.expect(Accepted, id=number, executors=1, rejected=0, absent=0)
        busy.expect(Execute)
    assert loads(sender) == [0, 0, 3]


@pytest.mark.parametrize("target", [Target.ALL, Target.NEXT, Target.LEAST])
def test_nobody_present_below(room: Server, target: Target) -> None:
    """Section 5: ABSENT, and not NO_TARGET; before DUPLICATE."""
    senior, sender = room.line(2)
    lost = [room.keep(secret) for secret in (SECRET, OTHER)]
    sender.command(1, Target.ONE, 2, results=True)
    sender.expect(Accepted, id=1)
    lose(senior, *lost)
    for ident in (1, 2):
        sender.command(ident, target, results=True)
        sender.expect(Refused, id=ident, code=Refusal.ABSENT)
    sender.command(1, Target.ALL, payload=bytes(65_537))
    sender.expect(Refused, id=1, code=Refusal.TOO_BIG)
    room.join()
    sender.command(3, target)
    if target == Target.NEXT:
        sender.expect(Refused, id=3, code=Refusal.ABSENT)
    else:
        sender.expect(Accepted, id=3, executors=1)


def test_one_lost_in_the_turn_of_a_command_still_executes(room: Server) -> None:
    """Section 4: absences come after commands; a command that never arrived ends LEFT at its return with last_seq."""
    sender = room.join()
    kept = room.keep(SECRET)
    before = kept.joined.seq
    with room.one_turn():
        kept.close()
        sender.command(1, results=True, payload=b"x")
    seq = sender.expect(Accepted, id=1, executors=1, absent=0).seq
    assert seq == before + 1
    sender.expect_quiet()
    room.keep(SECRET, last_seq=before)
    sender.expect(Routed, id=1, ticket=kept.ticket, rank=1, status=Status.LEFT)
    sender.expect(Done, id=1, left=1)


def test_one_that_returns_in_the_turn_of_a_command_does_not_execute(room: Server) -> None:
    """Section 4: returns come after commands."""
    sender = room.join()
    kept = room.keep(SECRET)
    junior = room.join()
    lose(sender, kept)
    back = room.connect()
    sender.ping()
    with room.one_turn():
        back.send(room.returning(SECRET))
        sender.command(1, payload=b"x")
        sender.command(2, Target.ONE, 1)
    seq = junior.expect(Execute).seq
    back.expect(Welcome, seq=seq + 1)
    back.expect_quiet()
    sender.expect(Accepted, id=1, executors=1, absent=1)
    sender.expect(Refused, id=2, code=Refusal.ABSENT)


# Rank 0, and departures around absent members


def test_there_is_no_acting_leader(room: Server) -> None:
    """Section 9: rank 0 stays with the absent one until its seat ends."""
    kept = room.keep(SECRET, keep_ms=500)
    second, third = room.line(2)
    lose(third, kept)
    second.command(1, Target.ONE, 0)
    second.expect(Refused, code=Refusal.NOT_LOWER)
    second.command(2)
    second.expect(Accepted, executors=1, rejected=1, absent=0)
    third.expect_execute(1, b"")
    second.expect(Rank, rank=0, members=2, cause=Cause.LOST)


def test_a_kept_member_gets_shutdown_at_the_end_of_an_instance(serve: Serve) -> None:
    server = serve(3)
    kept = server.keep(SECRET)
    server.signal(signal.SIGTERM)
    kept.expect(Error, code=Code.SHUTDOWN)


def test_a_room_of_absent_ones_only(room: Server) -> None:
    """Section 9: a newcomer ranks below all of them."""
    eye = room.observe()
    kept = [room.keep(secret) for secret in (SECRET, OTHER, THIRD)]
    lose(eye, *kept)
    late = room.join()
    assert (late.joined.rank, late.joined.members) == (3, 4)
    late.command(1)
    late.expect(Refused, code=Refusal.NO_TARGET)
    back = room.keep(OTHER)
    assert back.joined.rank == 1
    back.send(named(1, sorted(peer.ticket for peer in (*kept, late)), b"x"))
    back.expect(Accepted, executors=1, rejected=2, absent=1)
    late.expect_execute(1, b"x")
