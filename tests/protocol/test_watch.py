"""Section 8, WATCH: one CHANGED per event of the line, in the order of the sequence."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from .frames import (
    OBSERVE,
    WATCH,
    Accepted,
    Changed,
    Execute,
    Hello,
    How,
    Members,
    Ping,
    Pong,
    Rank,
    Refused,
    State,
    Welcome,
    What,
    Who,
    Yield,
    Yielded,
)
from .line import lose

if TYPE_CHECKING:
    from .frames import Frame
    from .peer import Peer
    from .process import Server

SECRET = b"0123456789abcdef"
SECRETS = [bytes([number]) * 32 for number in range(8)]


def member(server: Server, name: str = "") -> Peer:
    """A member that watches."""
    peer = server.connect()
    peer.hello(name, flags=WATCH)
    return peer


@pytest.fixture(params=["observer", "member"])
def watcher(request: pytest.FixtureRequest, room: Server) -> Peer:
    """A watcher of either kind, the first in the room."""
    return room.watch() if request.param == "observer" else member(room, "eye")


def ahead(watcher: Peer) -> int:
    """How many ranks the watcher itself takes."""
    return 0 if watcher.ticket == 0 else 1


# Each event


def test_a_join(room: Server, watcher: Peer) -> None:
    """Section 8: its own rank, and the number of members up to and including it."""
    for number in range(3):
        peer = room.join(f"n{number}")
        rank = number + ahead(watcher)
        seq = peer.joined.seq
        watcher.expect(
            Changed,
            seq=seq,
            what=What.JOINED,
            ticket=peer.ticket,
            rank=rank,
            members=rank + 1,
            name=f"n{number}",
        )
        assert (peer.joined.rank, peer.joined.members) == (rank, rank + 1)
    watcher.expect_quiet()


@pytest.mark.parametrize("how", ["LEAVE", "half-close", "reset", "inside a frame", "breach"])
def test_a_departure(room: Server, watcher: Peer, how: str) -> None:
    """Section 8: the rank before it, and the number of members after it."""
    first, going, last = (room.join(name) for name in ("a", "b", "c"))
    watcher.settle()
    what = What.LOST
    if how == "LEAVE":
        going.leave()
        what = What.LEFT
    elif how == "half-close":
        going.half_close()
        what = What.LEFT
    elif how == "reset":
        going.reset()
    elif how == "inside a frame":
        going.raw(b"\0\0\0")
        going.half_close()
    else:
        going.raw(bytes(4))
        what = What.EVICTED
    rank = ahead(watcher)
    watcher.expect(
        Changed,
        seq=last.joined.seq + 1,
        what=what,
        ticket=going.ticket,
        rank=rank + 1,
        members=rank + 2,
        name="b",
    )
    first.expect_quiet()
    last.expect(Rank, seq=last.joined.seq + 1, rank=rank + 1)
    watcher.expect_quiet()


def test_departures_of_one_turn(room: Server) -> None:
    """Section 8: ranks before any of them, members after all of them, behind the watcher's RANK."""
    line = room.line(3)
    watcher = member(room)
    line += room.line(2)
    watcher.settle()
    base = line[-1].joined.seq
    with room.one_turn():
        line[4].leave()
        line[2].reset()
        line[0].raw(bytes(4))
    watcher.expect(Rank, seq=base + 3, rank=1, members=3)
    for number, (peer, rank, what) in enumerate(
        ((line[0], 0, What.EVICTED), (line[2], 2, What.LOST), (line[4], 5, What.LEFT)), start=1
    ):
        watcher.expect(
            Changed, seq=base + number, what=what, ticket=peer.ticket, rank=rank, members=3, name=""
        )
    watcher.expect_quiet()


def test_departures_and_joins_of_one_turn(room: Server, watcher: Peer) -> None:
    first, second = room.line(2)
    base = second.joined.seq
    watcher.settle()
    late = [room.connect() for _ in range(2)]
    second.ping()
    with room.one_turn():
        for peer in late:
            peer.send(Hello(name="late"))
        first.leave()
    start = ahead(watcher)
    watcher.expect(Changed, seq=base + 1, what=What.LEFT, rank=start, members=start + 1)
    for number in range(2):
        watcher.expect(
            Changed,
            seq=base + 2 + number,
            what=What.JOINED,
            rank=start + 1 + number,
            members=start + 2 + number,
        )
    watcher.expect_quiet()


def test_an_absence_and_a_return(room: Server, watcher: Peer) -> None:
    """Sections 8 and 9: a seq each, nobody's rank or number changes; the name is the new one."""
    first = room.join()
    kept = room.keep(SECRET, "old")
    last = room.join()
    base = last.joined.seq
    watcher.settle()
    rank = ahead(watcher) + 1
    told = {"ticket": kept.ticket, "rank": rank, "members": rank + 2}
    kept.close()
    watcher.expect(Changed, seq=base + 1, what=What.ABSENT, name="old", **told)
    back = room.keep(SECRET, "new")
    watcher.expect(Changed, seq=base + 2, what=What.BACK, name="new", **told)
    assert back.joined.seq == base + 2
    first.expect_quiet()
    last.expect_quiet()
    watcher.expect_quiet()


def test_a_takeover(room: Server, watcher: Peer) -> None:
    """Section 9: one seq, as a return."""
    kept = room.keep(SECRET, "old")
    base = kept.joined.seq
    watcher.settle()
    back = room.keep(SECRET, "new")
    assert back.joined.seq == base + 1
    watcher.expect(Changed, seq=base + 1, what=What.BACK, ticket=kept.ticket, name="new")
    watcher.expect_quiet()


def test_a_keep_that_runs_out(room: Server, watcher: Peer) -> None:
    """Section 9: the absence, then a departure as lost."""
    kept = room.keep(SECRET, keep_ms=200)
    base = kept.joined.seq
    watcher.settle()
    kept.close()
    watcher.expect(Changed, seq=base + 1, what=What.ABSENT, ticket=kept.ticket)
    rank = ahead(watcher)
    watcher.expect(Changed, seq=base + 2, what=What.LOST, ticket=kept.ticket, rank=rank, members=rank)


def test_an_absence_in_a_turn_with_departures(room: Server, watcher: Peer) -> None:
    """Section 4: departures come before absences; section 8: every rank is that before any departure."""
    first = room.join()
    kept = room.keep(SECRET)
    last = room.join()
    base = last.joined.seq
    watcher.settle()
    with room.one_turn():
        kept.close()
        first.leave()
    start = ahead(watcher)
    watcher.expect(Changed, seq=base + 1, what=What.LEFT, ticket=first.ticket, rank=start, members=start + 2)
    watcher.expect(
        Changed, seq=base + 2, what=What.ABSENT, ticket=kept.ticket, rank=start + 1, members=start + 2
    )
    last.expect(Rank, seq=base + 1, rank=start + 1, members=start + 2)


def test_a_return_in_a_turn_with_departures_and_joins(room: Server, watcher: Peer) -> None:
    """Section 4: departures, returns, joins; WELCOME has the rank after the departures."""
    first = room.join()
    kept = room.keep(SECRET)
    last = room.join()
    lose(last, kept)
    base = last.who().seq
    watcher.settle()
    late, back = room.connect(), room.connect()
    last.ping()
    with room.one_turn():
        late.send(Hello())
        back.send(room.returning(SECRET))
        first.leave()
    start = ahead(watcher)
    watcher.expect(Changed, seq=base + 1, what=What.LEFT, rank=start, members=start + 2)
    watcher.expect(Changed, seq=base + 2, what=What.BACK, rank=start + 1, members=start + 2)
    watcher.expect(Changed, seq=base + 3, what=What.JOINED, rank=start + 2, members=start + 3)
    back.expect(Welcome, seq=base + 2, rank=start, members=start + 2)
    late.expect(Welcome, seq=base + 3, rank=start + 2, members=start + 3)


def test_a_yield(room: Server, watcher: Peer) -> None:
    """Section 8: 7, then 1 with the new ticket, in one turn."""
    yielder = room.join("y")
    junior = room.join()
    base = junior.joined.seq
    watcher.settle()
    yielder.send(Yield(1))
    yielded = yielder.expect(Yielded)
    start = ahead(watcher)
    watcher.expect(
        Changed,
        seq=base + 1,
        what=What.YIELDED,
        ticket=yielder.ticket,
        rank=start,
        members=start + 1,
        name="y",
    )
    watcher.expect(
        Changed,
        seq=base + 2,
        what=What.JOINED,
        ticket=yielded.ticket,
        rank=start + 1,
        members=start + 2,
        name="y",
    )
    watcher.expect_quiet()


# What a watcher is not told


def test_commands_and_queries_are_not_told(room: Server, watcher: Peer) -> None:
    first, second = room.line(2)
    watcher.settle()
    first.command(1)
    first.command(2, 1, 0)
    first.send(Who(3), Ping(b"x"))
    second.settle()
    first.settle()
    eye = room.watch()
    eye.leave()
    eye.drain()
    watcher.expect_quiet()


def test_its_own_join_is_not_told(room: Server) -> None:
    """Section 8: WELCOME says it; a later one of the same turn is told."""
    first = room.join()
    base = first.joined.seq
    peers = [room.connect() for _ in range(3)]
    eye = room.connect()
    first.ping()
    with room.one_turn():
        for peer in peers:
            peer.send(Hello(flags=WATCH))
        eye.send(Hello(flags=WATCH | OBSERVE))
    for number, peer in enumerate(peers):
        peer.expect(Welcome, seq=base + 1 + number)
        for later in range(number + 1, 3):
            peer.expect(Changed, seq=base + 1 + later, what=What.JOINED, ticket=first.ticket + 1 + later)
        peer.expect_quiet()
    eye.expect(Welcome, ticket=0, seq=base + 3, members=4)
    eye.expect_quiet()


def test_departures_of_the_turn_in_which_it_joined_are_not_told(room: Server) -> None:
    """Section 8: only events with a seq above that of WELCOME."""
    first, second = room.line(2)
    base = second.joined.seq
    late = room.connect()
    second.ping()
    with room.one_turn():
        late.send(Hello(flags=WATCH))
        first.leave()
    late.expect(Welcome, seq=base + 2, rank=1)
    late.expect_quiet()


def test_its_own_return_is_not_told(room: Server) -> None:
    witness = room.join()
    kept = room.keep(SECRET, flags=WATCH)
    lose(witness, kept)
    back = room.keep(SECRET, flags=WATCH)
    assert back.joined.how == How.RETURNED
    back.expect_quiet()
    third = room.keep(SECRET, flags=WATCH)  # a takeover
    third.expect_quiet()


def test_its_own_yield_is_told(room: Server) -> None:
    """Section 8: CHANGED 7 and 1, behind RANK's place and before YIELDED."""
    watcher = member(room)
    junior = room.join()
    watcher.settle()
    base = junior.joined.seq
    watcher.send(Yield(1))
    watcher.expect(Changed, seq=base + 1, what=What.YIELDED, ticket=watcher.ticket, rank=0, members=1)
    watcher.expect(Changed, seq=base + 2, what=What.JOINED, rank=1, members=2)
    watcher.expect(Yielded, id=1, seq=base + 2, rank=1, members=2)
    watcher.expect_quiet()


def test_watch_is_of_the_connection(room: Server) -> None:
    """Section 9: the flags of a member that returns are those of its new HELLO."""
    witness = room.join()
    kept = room.keep(SECRET, flags=WATCH)
    lose(witness, kept)
    back = room.keep(SECRET)
    room.join()
    back.expect_quiet()
    again = room.keep(SECRET, flags=WATCH)
    late = room.join()
    again.expect(Changed, what=What.JOINED, ticket=late.ticket)


def test_one_without_the_flag_is_not_told(room: Server) -> None:
    plain, watcher = room.join(), member(room)
    late = room.join()
    watcher.expect(Changed, ticket=late.ticket)
    plain.expect_quiet()
    late.expect_quiet()


# The order of frames


def test_where_changed_stands_among_the_frames_of_a_turn(room: Server) -> None:
    """Section 4: EXECUTE, RANK, CHANGED, then the answers."""
    senior, watcher = room.join(), member(room)
    base = watcher.joined.seq
    with room.one_turn():
        watcher.send(Who(1), Ping(b"x"))
        watcher.command(2)
        senior.command(3, payload=b"last")
        senior.leave()
    watcher.expect(Execute, seq=base + 1, payload=b"last")
    watcher.expect(Rank, seq=base + 2, rank=0)
    watcher.expect(Changed, seq=base + 2, what=What.LEFT)
    watcher.expect(Refused, id=2)
    watcher.expect(Members, id=1, seq=base + 2)
    watcher.expect(Pong, opaque=b"x")


def test_all_watchers_read_the_same(room: Server) -> None:
    watchers = [member(room), room.watch(), member(room), room.watch()]
    for watcher in watchers:
        watcher.settle()
    first, second = room.line(2)
    first.leave()
    second.expect(Rank)
    seen = [[frame for frame in watcher.settle() if isinstance(frame, Changed)] for watcher in watchers]
    assert len(seen[0]) == 3
    assert all(frames == seen[0] for frames in seen)


# The exact list


class Line:
    """The members as a watcher knows them: MEMBERS once, then CHANGED."""

    def __init__(self, members: Members) -> None:
        self.seq = members.seq
        self.seats = {seat.ticket: (seat.name, seat.state) for seat in members.seats}

    def apply(self, frame: Frame) -> None:
        if not isinstance(frame, Changed) or frame.seq <= self.seq:
            return
        self.seq = frame.seq
        if frame.what in {What.JOINED, What.ABSENT, What.BACK}:
            assert (frame.ticket not in self.seats) == (frame.what == What.JOINED)
            state = State.ABSENT if frame.what == What.ABSENT else State.PRESENT
            self.seats[frame.ticket] = (frame.name, state)
        else:
            del self.seats[frame.ticket]


@pytest.mark.parametrize("seed", range(4))
def test_members_and_changed_give_the_exact_list(room: Server, watcher: Peer, seed: int) -> None:
    """Section 8: over turns of random events, the list that is kept is the list that WHO answers."""
    draw = random.Random(seed)
    line = Line(watcher.who())
    others: list[Peer] = []
    kept: dict[bytes, Peer | None] = {}
    for _ in range(25):
        coming = [room.connect() for _ in range(draw.randrange(3))]
        returning = [secret for secret in SECRETS if draw.random() < 0.2]
        doors = [room.connect() for _ in returning]
        watcher.send(Ping(b"accepted"))
        for frame in iter(watcher.recv, Pong(b"accepted")):
            line.apply(frame)
        with room.one_turn():
            for peer in coming:
                peer.send(Hello(name=str(draw.random())))
            for door, secret in zip(doors, returning, strict=True):
                door.send(room.returning(secret, name=str(draw.random())))
            for secret, holder in kept.items():
                if holder is not None and draw.random() < 0.4:
                    (holder.leave if draw.random() < 0.3 else holder.close)()
                    kept[secret] = None
            for peer in draw.sample(others, len(others) // 3):
                others.remove(peer)
                draw.choice((peer.leave, peer.reset, lambda peer=peer: peer.raw(bytes(4))))()
            for peer in draw.sample(others, len(others) // 4):
                peer.send(Yield(1))
            watcher.send(Who(draw.randrange(1000)))
        for peer in coming:
            peer.expect(Welcome)
        for door, secret in zip(doors, returning, strict=True):
            door.expect(Welcome)
            kept[secret] = door
        others += coming
        members = None
        for frame in watcher.settle():
            line.apply(frame)
            if isinstance(frame, Members):
                members = frame
        assert members is not None
        final = watcher.who()
        assert final.seq == line.seq
        assert line.seats == {seat.ticket: (seat.name, seat.state) for seat in final.seats}
        assert sorted(line.seats) == [seat.ticket for seat in final.seats]


def test_a_watcher_that_commands(room: Server) -> None:
    watcher = member(room)
    junior = room.join()
    watcher.expect(Changed, what=What.JOINED, ticket=junior.ticket)
    watcher.command(1, payload=b"x")
    watcher.expect(Accepted, id=1, executors=1)
    junior.expect_execute(0, b"x")
