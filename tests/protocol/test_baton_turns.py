"""Sections 4 and 10, BATON: with other frames and events of its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .frames import (
    MAX_PAYLOAD,
    WATCH,
    Accepted,
    Baton,
    Cause,
    Changed,
    Code,
    Command,
    Error,
    Execute,
    Hello,
    Members,
    Ping,
    Pong,
    Rank,
    Refusal,
    Refused,
    Welcome,
    What,
    Who,
    Write,
    Yield,
    Yielded,
    encode,
)

if TYPE_CHECKING:
    from .peer import Peer
    from .process import Server

SECRET = b"0123456789abcdef"
TOO_BIG = bytes(MAX_PAYLOAD + 1)


def write(peer: Peer, payload: bytes, ident: int = 1) -> int:
    """Write the baton; its version."""
    peer.send(Write(ident, payload))
    return peer.expect(Accepted, id=ident, executors=0, rejected=0, absent=0).seq


# Several things in one turn


def test_baton_and_leave_in_one_segment(room: Server) -> None:
    """Section 4: batons are taken with the commands, so the next one gets the new note."""
    first, second = room.line(2)
    write(first, b"old")
    with room.one_turn():
        first.send(Write(2, b"new"))
        first.leave()
    second.expect(Rank, rank=0)
    version = second.expect(Baton, ticket=first.ticket, payload=b"new").seq
    assert version == second.joined.seq + 2
    first.expect(Accepted, id=2, seq=version, executors=0, rejected=0, absent=0)


def test_baton_and_yield_in_one_segment(room: Server) -> None:
    first, second = room.line(2)
    with room.one_turn():
        first.send(Write(1, b"new"), Yield(2), Write(3, b"too late"))
    second.expect(Rank, rank=0)
    second.expect(Baton, ticket=first.ticket, payload=b"new")
    first.expect(Accepted, id=1)
    first.expect(Yielded, id=2)
    first.expect(Refused, id=3, code=Refusal.NOT_FIRST)


def test_a_baton_is_judged_by_the_ranks_before_the_departures(room: Server) -> None:
    """Section 10: the next one cannot write in the turn in which it gets rank 0."""
    first, second = room.line(2)
    version = write(first, b"old")
    with room.one_turn():
        first.leave()
        second.send(Write(2, b"early"))
    second.expect(Rank, rank=0)
    second.expect(Baton, seq=version, payload=b"old")
    second.expect(Refused, id=2, code=Refusal.NOT_FIRST)
    write(second, b"now")


def test_its_place_among_the_commands(room: Server) -> None:
    """Section 4: one sequence, in the order in which the sender sent them."""
    first, second, third = room.line(3)
    base = third.joined.seq
    with room.one_turn():
        second.command(21, payload=b"d")
        first.send(
            Command(1, payload=b"a"),
            Write(2, b"x"),
            Command(3, payload=b"b"),
            Write(4, b"y"),
            Command(5, payload=b"c"),
        )
    for ident in range(1, 6):
        first.expect(Accepted, id=ident, seq=base + ident, executors=0 if ident in (2, 4) else 2)
    for seq, payload in ((1, b"a"), (3, b"b"), (5, b"c")):
        second.expect(Execute, seq=base + seq, payload=payload)
        third.expect(Execute, seq=base + seq, payload=payload)
    third.expect(Execute, seq=base + 6, payload=b"d")
    second.expect(Accepted, id=21, seq=base + 6)
    first.leave()
    second.expect(Rank, rank=0)
    second.expect(Baton, seq=base + 4, payload=b"y")


def test_the_place_of_baton_among_the_frames_of_a_turn(room: Server) -> None:
    """Section 4: EXECUTE, RANK, BATON, CHANGED, then the answers."""
    first = room.join()
    second = room.connect()
    second.hello(flags=WATCH)
    third = room.join()
    second.settle()
    write(first, b"note")
    with room.one_turn():
        second.send(Who(1), Ping(b"p"), Command(2))
        first.command(3, payload=b"x")
        first.leave()
    second.expect(Execute, payload=b"x")
    second.expect(Rank, rank=0)
    second.expect(Baton, payload=b"note")
    second.expect(Changed, what=What.LEFT)
    second.expect(Accepted, id=2)
    second.expect(Members, id=1)
    second.expect(Pong, opaque=b"p")
    third.expect(Execute, payload=b"x")


def test_a_newcomer_in_the_turn_in_which_the_room_empties(room: Server) -> None:
    first = room.join()
    late = room.connect()
    first.ping()
    with room.one_turn():
        late.send(Hello())
        first.send(Write(1, b"note"))
        first.leave()
    late.expect(Welcome, rank=0, members=1)
    late.expect(Baton, ticket=first.ticket, payload=b"note")
    late.expect_quiet()


def test_a_takeover_and_a_baton_in_one_turn(room: Server) -> None:
    """Section 9: whole frames of the old connection count; the new one gets the note after WELCOME."""
    old = room.keep(SECRET)
    witness = room.join()
    new = room.connect()
    witness.ping()
    with room.one_turn():
        new.send(room.returning(SECRET))
        old.send(Write(1, b"note"))
    new.expect(Welcome, rank=0, ticket=old.ticket)
    new.expect(Baton, ticket=old.ticket, payload=b"note")
    last = old.drain()[-1]
    assert isinstance(last, Error)
    assert last.code == Code.TAKEN_OVER


def test_a_broken_frame_after_a_baton(room: Server) -> None:
    first, second = room.line(2)
    first.raw(encode(Write(1, b"whole")) + bytes(4))
    second.expect(Rank, rank=0, cause=Cause.EVICTED)
    second.expect(Baton, payload=b"whole")
