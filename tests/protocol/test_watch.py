"""Section 8, WATCH: one CHANGED per event of the line, in the order of the sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import (
    WATCH,
    Changed,
    Hello,
    Rank,
    Welcome,
    What,
    Yield,
    Yielded,
)
from .line import lose

if TYPE_CHECKING:
    from .peer import Peer
    from .process import Server

SECRET = b"0123456789abcdef"
SECRETS = [bytes([number]) * 32 for number in range(8)]


def ahead(watcher: Peer) -> int:
    """The number of ranks that the watcher itself has."""
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
    """Section 8: ranks before any of them, members after all of them; after the watcher's RANK."""
    line = room.line(3)
    watcher = room.join(flags=WATCH)
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
    """Sections 8 and 9: a seq each, no rank and no number changes; the name is the new one."""
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
