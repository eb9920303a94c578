"""Section 9, takeover: a HELLO with the secret of a member that is still connected."""

from __future__ import annotations

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
    Who,
    encode,
    resume,
)
from .line import loads, lose

if TYPE_CHECKING:
    from .conftest import Serve
    from .peer import Peer
    from .process import Server

SECRET = b"0123456789abcdef"


def door(room: Server, witness: Peer, count: int = 1) -> list[Peer]:
    """Connections that the server has accepted, in this order."""
    doors = [room.connect() for _ in range(count)]
    witness.ping()
    return doors


def test_the_newcomer_wins(room: Server) -> None:
    """Section 9: the same ticket, how = 1, one seq; the old one gets TAKEN_OVER, and no other member is informed."""
    senior = room.join()
    old = room.keep(SECRET, "old")
    junior = room.join()
    base = junior.joined.seq
    new = room.keep(SECRET, "new", keep_ms=10_000)
    welcome = new.joined
    assert (welcome.how, welcome.keep_ms, welcome.ticket) == (How.RETURNED, 10_000, old.ticket)
    assert (welcome.seq, welcome.rank, welcome.members) == (base + 1, 1, 3)
    assert old.expect_error(Code.TAKEN_OVER).text
    senior.expect_quiet()
    junior.expect_quiet()
    seat = senior.who().seats[1]
    assert (seat.name, seat.state, seat.address) == ("new", State.PRESENT, new.address)
    senior.command(1, Target.NEXT, payload=b"x")
    new.expect_execute(0, b"x")


def test_a_takeover_of_a_takeover(room: Server) -> None:
    peers = [room.keep(SECRET) for _ in range(4)]
    assert len({peer.ticket for peer in peers}) == 1
    for peer in peers[:-1]:
        peer.expect_error(Code.TAKEN_OVER)
    peers[-1].expect_quiet()
    assert peers[-1].who().total == 1


def test_a_takeover_in_a_full_room(serve: Serve) -> None:
    server = serve(1)
    old = server.keep(SECRET)
    assert server.keep(SECRET).joined.how == How.RETURNED
    old.expect_error(Code.TAKEN_OVER)


@pytest.mark.parametrize("first", ["old", "new"])
def test_whole_frames_of_the_old_connection_count(room: Server, first: str) -> None:
    """Section 9: everything that arrived by the end of that turn, in either order; partial frames are dropped."""
    senior = room.join()
    old = room.keep(SECRET)
    junior = room.join()
    senior.command(1, Target.ONE, 1, results=True)
    seq = old.expect(Execute).seq
    senior.expect(Accepted)
    (new,) = door(room, junior)
    with room.one_turn():
        if first == "new":
            new.send(room.returning(SECRET, last_seq=seq))
        old.send(Result(seq, Status.OK, b"done"), Command(2, payload=b"mine"), Who(3), Ping(b"x"))
        old.raw(encode(Command(4))[:-1])
        if first == "old":
            new.send(room.returning(SECRET, last_seq=seq))
    senior.expect(Routed, id=1, status=Status.OK, payload=b"done")
    senior.expect(Done, id=1, ok=1)
    junior.expect_execute(1, b"mine")
    junior.expect_quiet()
    new.expect(Welcome, ticket=old.ticket, rank=1)
    new.expect_quiet()
    seen = old.drain()
    assert isinstance(seen[-1], Error)
    assert seen[-1].code == Code.TAKEN_OVER
    assert [type(frame) for frame in seen[:-1]] == [Accepted, Members, Pong]


def test_commands_of_the_turn_reach_the_old_one(room: Server) -> None:
    """Section 9: it was present for them; with a smaller last_seq they end LEFT, as on any return."""
    sender = room.join()
    old = room.keep(SECRET)
    before = old.joined.seq
    (new,) = door(room, sender)
    with room.one_turn():
        new.send(room.returning(SECRET, last_seq=before))
        sender.command(1, results=True, payload=b"x")
    sender.expect(Accepted, id=1, executors=1, absent=0)
    sender.expect(Routed, id=1, ticket=old.ticket, status=Status.LEFT)
    sender.expect(Done, id=1, left=1)
    new.expect(Welcome, seq=before + 2)
    new.expect_quiet()


def test_outstanding_results_can_be_sent(room: Server) -> None:
    """Section 9: a takeover is a loss and a return."""
    sender = room.join()
    old = room.keep(SECRET)
    for number in range(2):
        sender.command(number, results=True)
        sender.expect(Accepted, id=number)
    seqs = [old.expect(Execute).seq for _ in range(2)]
    new = room.keep(SECRET, last_seq=seqs[0])
    sender.expect(Routed, id=1, status=Status.LEFT)
    sender.expect(Done, id=1, left=1)
    new.result(seqs[0], payload=b"new")
    sender.expect(Routed, id=0, ticket=old.ticket, status=Status.OK, payload=b"new")
    sender.expect(Done, id=0, ok=1)
    assert loads(sender) == [0, 0]


def test_pending_commands_are_forgotten(room: Server) -> None:
    old = room.keep(SECRET)
    junior = room.join()
    old.command(5, results=True)
    seq = junior.expect(Execute).seq
    new = room.keep(SECRET)
    junior.result(seq)
    new.expect_quiet()
    new.command(5, results=True)
    new.expect(Accepted, id=5)


def test_frames_of_the_old_one_afterwards_are_dropped(room: Server) -> None:
    old = room.keep(SECRET)
    junior = room.join()
    new = room.keep(SECRET)
    old.send(Command(1, payload=b"late"), Leave())
    junior.expect_quiet()
    new.expect_quiet()
    assert junior.who().total == 2


def test_the_end_of_the_old_connection_does_not_matter(room: Server) -> None:
    """Section 9: when it is closed at last, the seat belongs to the new one."""
    old = room.keep(SECRET)
    junior = room.join()
    new = room.keep(SECRET, keep_ms=100)
    old.reset()
    new.expect_quiet()
    junior.expect_quiet()
    assert [seat.state for seat in junior.who().seats] == [State.PRESENT, State.PRESENT]


# Two things in one turn


def test_two_hellos_with_the_secret_of_an_absent_one(room: Server) -> None:
    """Section 9: the one whose connection was accepted later ends up with the seat."""
    witness = room.join()
    kept = room.keep(SECRET)
    lose(witness, kept)
    first, second = door(room, witness, 2)
    with room.one_turn():
        second.send(room.returning(SECRET))
        first.send(room.returning(SECRET))
    welcome = second.expect(Welcome, ticket=kept.ticket, rank=1, members=2)
    assert welcome.how == How.RETURNED
    second.expect_quiet()
    seen = first.drain()
    assert isinstance(seen[-1], Error)
    assert seen[-1].code == Code.TAKEN_OVER
    assert [frame.ticket for frame in seen[:-1] if isinstance(frame, Welcome)] == [kept.ticket]
    assert witness.who().total == 2


def test_two_hellos_with_the_secret_of_a_present_one(room: Server) -> None:
    witness = room.join()
    old = room.keep(SECRET)
    first, second = door(room, witness, 2)
    with room.one_turn():
        second.send(room.returning(SECRET))
        first.send(room.returning(SECRET))
    second.expect(Welcome, ticket=old.ticket, rank=1, members=2)
    second.expect_quiet()
    for loser in (old, first):
        last = loser.drain()[-1]
        assert isinstance(last, Error)
        assert last.code == Code.TAKEN_OVER
    assert witness.who().total == 2


def test_two_hellos_with_an_unknown_secret(room: Server) -> None:
    """Section 9: one seat, not two."""
    witness = room.join()
    base = witness.joined.seq
    first, second = door(room, witness, 2)
    with room.one_turn():
        second.send(room.returning(SECRET))
        first.send(room.returning(SECRET))
    welcome = second.expect(Welcome, ticket=witness.ticket + 1, rank=1, members=2)
    assert (welcome.how, welcome.seq) == (How.RETURNED, base + 2)
    second.expect_quiet()
    last = first.drain()[-1]
    assert isinstance(last, Error)
    assert last.code == Code.TAKEN_OVER
    assert witness.who().total == 2
    assert room.join().ticket == witness.ticket + 2


def test_two_hellos_with_an_unknown_secret_for_the_last_seat(serve: Serve) -> None:
    server = serve(2)
    witness = server.join()
    first, second = door(server, witness, 2)
    with server.one_turn():
        first.send(server.returning(SECRET))
        second.send(server.returning(SECRET))
    second.expect(Welcome, rank=1)
    last = first.drain()[-1]
    assert isinstance(last, Error)
    assert last.code == Code.TAKEN_OVER


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
def test_the_end_and_the_hello_in_one_turn(room: Server, how: str) -> None:
    """Section 9: an absence and a return, with a seq each."""
    senior = room.join()
    old = room.keep(SECRET)
    junior = room.join()
    base = junior.joined.seq
    (new,) = door(room, junior)
    with room.one_turn():
        new.send(room.returning(SECRET))
        {"close": old.close, "half-close": old.half_close, "reset": old.reset}[how]()
    welcome = new.expect(Welcome, ticket=old.ticket, rank=1, members=3, seq=base + 2)
    assert welcome.how == How.RETURNED
    senior.expect_quiet()
    junior.expect_quiet()


def test_a_breach_and_the_hello_in_one_turn(room: Server) -> None:
    """Section 9: an ERROR ends the seat, and departures come before returns."""
    old = room.keep(SECRET)
    junior = room.join()
    (new,) = door(room, junior)
    with room.one_turn():
        new.send(room.returning(SECRET))
        old.raw(bytes(4))
    junior.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)
    welcome = new.expect(Welcome, rank=1, members=2)
    assert welcome.how == How.NEW
    old.expect_error(Code.PROTOCOL)


def test_a_takeover_and_departures_in_one_turn(room: Server) -> None:
    """Section 4: WELCOME has the rank after the departures."""
    first = room.join()
    old = room.keep(SECRET)
    last = room.join()
    base = last.joined.seq
    (new,) = door(room, last)
    with room.one_turn():
        new.send(room.returning(SECRET))
        first.leave()
    new.expect(Welcome, ticket=old.ticket, seq=base + 2, rank=0, members=2)
    last.expect(Rank, seq=base + 1, rank=1, members=2)


def test_the_old_and_the_new_one_command_in_order(room: Server) -> None:
    """Section 9: frames after the HELLO are read once it is accepted, in the next turn at the earliest."""
    old = room.keep(SECRET)
    junior = room.join()
    (new,) = door(room, junior)
    with room.one_turn():
        new.send(room.returning(SECRET), Command(1, payload=b"second"))
        old.send(Command(1, payload=b"first"))
    junior.expect_execute(0, b"first")
    junior.expect_execute(0, b"second")
    new.expect(Welcome, rank=0)
    new.expect(Accepted, id=1)


# HELLOs that do not take over


@pytest.mark.parametrize(
    "hello",
    [
        Hello(2, resume=resume(SECRET)),
        Hello(1, 4, resume=resume(SECRET)),
        Hello(1, 1, resume=resume(SECRET)),
        Hello(1, 0, "\x1b", resume=resume(SECRET)),
    ],
    ids=["version", "flag", "OBSERVE", "name"],
)
def test_a_hello_that_fails_takes_nothing_over(room: Server, hello: Hello) -> None:
    old = room.keep(SECRET)
    peer = room.connect()
    peer.send(hello)
    peer.expect(Error)
    old.expect_quiet()


def test_a_second_hello_of_the_member_itself(room: Server) -> None:
    """Section 3: PROTOCOL, which ends its seat."""
    old = room.keep(SECRET)
    junior = room.join()
    old.send(Hello(resume=resume(SECRET)))
    old.expect_error(Code.PROTOCOL)
    junior.expect(Rank, rank=0, cause=Cause.EVICTED)


def test_a_member_without_a_keep_cannot_be_taken_over(room: Server) -> None:
    plain = room.connect()
    plain.hello(resume=resume(SECRET, 0))
    assert room.keep(SECRET).joined.how == How.NEW
    plain.expect_quiet()


# TAKEN_OVER and the returned seat


def test_the_keep_is_that_of_the_new_one(room: Server) -> None:
    room.keep(SECRET, keep_ms=60_000)
    junior = room.join()
    new = room.keep(SECRET, keep_ms=100)
    new.close()
    junior.expect(Rank, rank=0, members=1, cause=Cause.LOST)


def test_a_refused_command_of_the_old_one(room: Server) -> None:
    """Section 9: its answers of that turn come before TAKEN_OVER."""
    old = room.keep(SECRET)
    witness = room.join()
    (new,) = door(room, witness)
    with room.one_turn():
        old.command(1, Target.ONE, 9)
        new.send(room.returning(SECRET))
    new.expect(Welcome)
    seen = old.drain()
    assert isinstance(seen[-1], Error)
    assert [(frame.id, frame.code) for frame in seen if isinstance(frame, Refused)] == [
        (1, Refusal.NO_SUCH_RANK)
    ]
