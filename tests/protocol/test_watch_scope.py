"""Section 8, WATCH: events that a watcher does not receive, the place of CHANGED, and the list kept with it."""

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


# Events that a watcher does not receive


def test_commands_and_queries_send_no_changed(room: Server, watcher: Peer) -> None:
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


def test_its_own_join_sends_no_changed(room: Server) -> None:
    """Section 8: WELCOME reports it; a later join of the same turn is sent as CHANGED."""
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


def test_departures_of_the_turn_of_its_join_send_no_changed(room: Server) -> None:
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


def test_its_own_return_sends_no_changed(room: Server) -> None:
    witness = room.join()
    kept = room.keep(SECRET, flags=WATCH)
    lose(witness, kept)
    back = room.keep(SECRET, flags=WATCH)
    assert back.joined.how == How.RETURNED
    back.expect_quiet()
    third = room.keep(SECRET, flags=WATCH)  # a takeover
    third.expect_quiet()


def test_its_own_yield_sends_changed(room: Server) -> None:
    """Section 8: CHANGED 7 and 1, after RANK's place and before YIELDED."""
    watcher = room.join(flags=WATCH)
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


def test_a_member_without_the_flag_gets_no_changed(room: Server) -> None:
    plain, watcher = room.join(), room.join(flags=WATCH)
    late = room.join()
    watcher.expect(Changed, ticket=late.ticket)
    plain.expect_quiet()
    late.expect_quiet()


# The order of frames


def test_the_place_of_changed_among_the_frames_of_a_turn(room: Server) -> None:
    """Section 4: EXECUTE, RANK, CHANGED, then the answers."""
    senior, watcher = room.join(), room.join(flags=WATCH)
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
    watchers = [room.join(flags=WATCH), room.watch(), room.join(flags=WATCH), room.watch()]
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
    watcher = room.join(flags=WATCH)
    junior = room.join()
    watcher.expect(Changed, what=What.JOINED, ticket=junior.ticket)
    watcher.command(1, payload=b"x")
    watcher.expect(Accepted, id=1, executors=1)
    junior.expect_execute(0, b"x")
