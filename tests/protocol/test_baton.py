"""Section 10, BATON: the note that the member with rank 0 leaves for the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import (
    MAX_PAYLOAD,
    U32_MAX,
    Accepted,
    Baton,
    Cause,
    Changed,
    Execute,
    Rank,
    Refusal,
    Refused,
    What,
    Write,
    Yield,
    Yielded,
)
from .line import lose

if TYPE_CHECKING:
    from .conftest import Serve
    from .peer import Peer
    from .process import Server

SECRET = b"0123456789abcdef"
TOO_BIG = bytes(MAX_PAYLOAD + 1)


def write(peer: Peer, payload: bytes, ident: int = 1) -> int:
    """Write the baton; its version."""
    peer.send(Write(ident, payload))
    return peer.expect(Accepted, id=ident, executors=0, rejected=0, absent=0).seq


# Writing


@pytest.mark.parametrize("payload", [b"v1", b"\0", bytes(range(256)), bytes(MAX_PAYLOAD)], ids=len)
def test_rank_0_writes_and_its_successor_reads(room: Server, payload: bytes) -> None:
    """Section 10: ACCEPTED with the seq and three zeros; BATON right after RANK, for that member only."""
    first, second, third = room.line(3)
    version = write(first, payload, 7)
    assert version == third.joined.seq + 1
    for peer in (first, second, third):
        peer.expect_quiet()
    first.leave()
    second.expect(Rank, seq=version + 1, rank=0)
    second.expect(Baton, seq=version, ticket=first.ticket, payload=payload)
    second.expect_quiet()
    third.expect(Rank, rank=1)
    third.expect_quiet()


def test_alone(room: Server) -> None:
    """Section 10: a baton needs no juniors."""
    first = room.join()
    write(first, b"x")
    first.expect_quiet()


def test_the_last_write_counts(room: Server) -> None:
    """Section 10: its seq is the version; the writer may be the same or another one."""
    first, second, third = room.line(3)
    versions = [write(first, b"%d" % number) for number in range(3)]
    assert versions == list(range(versions[0], versions[0] + 3))
    first.leave()
    second.expect(Rank, rank=0)
    second.expect(Baton, seq=versions[2], ticket=first.ticket, payload=b"2")
    third.expect(Rank, rank=1)
    newest = write(second, b"mine")
    second.leave()
    third.expect(Rank, rank=0)
    third.expect(Baton, seq=newest, ticket=second.ticket, payload=b"mine")


def test_an_empty_payload_deletes_it(room: Server) -> None:
    """Section 10: it takes a seq, and the next one gets nothing."""
    first, second = room.line(2)
    version = write(first, b"x")
    assert write(first, b"") == version + 1
    assert write(first, b"") == version + 2
    first.leave()
    second.expect(Rank, rank=0)
    second.expect_quiet()


def test_there_is_none_at_first(serve: Serve) -> None:
    server = serve(3)
    first, second = server.line(2)
    first.expect_quiet()
    first.leave()
    second.expect(Rank, rank=0)
    second.expect_quiet()


@pytest.mark.parametrize("ident", [0, 5, U32_MAX])
def test_the_id_is_echoed(room: Server, ident: int) -> None:
    """Section 10: also while a command with that id waits."""
    first, second = room.line(2)
    first.command(5, results=True)
    first.expect(Accepted, id=5)
    second.expect(Execute)
    write(first, b"x", ident)
    second.send(Write(ident, b"x"))
    second.expect(Refused, id=ident, code=Refusal.NOT_FIRST)


# Refused


@pytest.mark.parametrize("payload", [b"x", b""], ids=["write", "delete"])
def test_another_rank_may_not_write(room: Server, payload: bytes) -> None:
    """Section 10: NOT_FIRST; no seq, no change."""
    line = room.line(3)
    version = write(line[0], b"first")
    for peer in line[1:]:
        peer.send(Write(1, payload))
        assert peer.expect(Refused, id=1, code=Refusal.NOT_FIRST).text
    assert line[0].who().seq == version
    line[0].leave()
    line[1].expect(Rank, rank=0)
    line[1].expect(Baton, seq=version, payload=b"first")


def test_too_big(room: Server) -> None:
    """Section 10: before NOT_FIRST."""
    first, second = room.line(2)
    version = write(first, b"x")
    for peer in (first, second):
        peer.send(Write(1, TOO_BIG))
        assert peer.expect(Refused, id=1, code=Refusal.TOO_BIG).text
    assert first.who().seq == version


def test_the_bound_follows_max_payload(serve: Serve) -> None:
    server = serve(3, "--max-payload", "1024")
    first, second = server.line(2)
    write(first, bytes(1024))
    first.send(Write(2, bytes(1025)))
    first.expect(Refused, id=2, code=Refusal.TOO_BIG)
    first.leave()
    second.expect(Rank, rank=0)
    second.expect(Baton, payload=bytes(1024))


def test_an_absent_rank_0_does_not_make_the_next_one_first(room: Server) -> None:
    first = room.keep(SECRET)
    second = room.join()
    lose(second, first)
    second.send(Write(1, b"x"))
    second.expect(Refused, id=1, code=Refusal.NOT_FIRST)


# Its receivers


def test_a_newcomer_to_an_empty_room(room: Server) -> None:
    """Section 10: right after WELCOME; a second newcomer gets nothing."""
    first = room.join()
    version = write(first, b"note")
    first.leave()
    first.expect_close()
    second = room.join()
    assert second.joined.rank == 0
    second.expect(Baton, seq=version, ticket=first.ticket, payload=b"note")
    third = room.join()
    third.expect_quiet()
    second.expect_quiet()


def test_it_outlives_its_readers(room: Server) -> None:
    """Section 10: as long as the instance; each new rank 0 gets it."""
    first = room.join()
    version = write(first, b"note")
    for _ in range(3):
        second = room.join()
        first.leave()
        second.expect(Rank, rank=0)
        second.expect(Baton, seq=version, payload=b"note")
        first = second


def test_one_that_moves_up_without_getting_rank_0(room: Server) -> None:
    line = room.line(4)
    write(line[0], b"note")
    line[1].leave()
    line[2].expect(Rank, rank=1)
    line[2].expect_quiet()
    line[3].expect(Rank, rank=2)
    line[3].expect_quiet()


def test_several_go_in_one_turn(room: Server) -> None:
    line = room.line(4)
    version = write(line[0], b"note")
    with room.one_turn():
        for peer in line[:3]:
            peer.leave()
    line[3].expect(Rank, rank=0, members=1)
    line[3].expect(Baton, seq=version)
    line[3].expect_quiet()


def test_a_return_to_rank_0(room: Server) -> None:
    """Section 10: also if it had rank 0 before, and if it wrote the note itself."""
    first = room.keep(SECRET)
    second = room.join()
    version = write(first, b"note")
    lose(second, first)
    back = room.keep(SECRET)
    assert back.joined.rank == 0
    back.expect(Baton, seq=version, ticket=back.ticket, payload=b"note")
    back.expect_quiet()
    third = room.keep(SECRET)  # a takeover
    third.expect(Baton, seq=version)
    third.expect_quiet()
    second.expect_quiet()


def test_a_return_to_another_rank(room: Server) -> None:
    first = room.join()
    kept = room.keep(SECRET)
    write(first, b"note")
    lose(first, kept)
    room.keep(SECRET).expect_quiet()


def test_one_that_got_rank_0_while_it_was_absent(room: Server) -> None:
    """Section 10: with its return; meanwhile no member gets it."""
    first = room.join()
    kept = room.keep(SECRET)
    third = room.join()
    version = write(first, b"note")
    lose(third, kept)
    first.leave()
    third.expect(Rank, rank=1)
    third.expect_quiet()
    back = room.keep(SECRET)
    assert back.joined.rank == 0
    back.expect(Baton, seq=version, ticket=first.ticket)


def test_a_keep_that_ran_out(room: Server) -> None:
    first = room.keep(SECRET, keep_ms=200)
    second = room.join()
    version = write(first, b"note")
    first.close()
    second.expect(Rank, rank=0, cause=Cause.LOST)
    second.expect(Baton, seq=version)


def test_a_yield(room: Server) -> None:
    """Section 10: the new rank 0 gets it in that turn, the yielder does not."""
    first, second, third = room.line(3)
    version = write(first, b"note")
    first.send(Yield(1))
    first.expect(Yielded, rank=2)
    first.expect_quiet()
    second.expect(Rank, rank=0, cause=Cause.YIELDED)
    second.expect(Baton, seq=version, ticket=first.ticket, payload=b"note")
    third.expect(Rank, rank=1)
    third.expect_quiet()


def test_a_yielder_that_ends_up_first(room: Server) -> None:
    """Section 10: it has rank 0 again, under another ticket."""
    first, second = room.line(2)
    version = write(first, b"note")
    with room.one_turn():
        second.leave()
        first.send(Yield(1))
    seen = [first.recv() for _ in range(2)]
    assert {type(frame) for frame in seen} == {Yielded, Baton}
    assert first.joined.ticket == second.ticket - 1
    assert Baton(version, first.ticket, b"note") in seen
    first.expect_quiet()


def test_observers_do_not_get_it(room: Server) -> None:
    first, second = room.line(2)
    watcher = room.watch()
    write(first, b"note")
    watcher.expect_quiet()
    first.leave()
    second.expect(Rank)
    watcher.expect(Changed, what=What.LEFT)
    watcher.expect_quiet()
    room.observe().expect_quiet()
