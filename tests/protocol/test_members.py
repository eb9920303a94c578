"""WHO and MEMBERS, PING and PONG."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .frames import U32_MAX, Execute, Leave, Members, Ping, Pong, Rank, Seat, State, Target, Who

if TYPE_CHECKING:
    from .conftest import Serve
    from .process import Server


# WHO


def test_a_seat_s_entry(room: Server) -> None:
    """Rank, ticket, load, name, and the address as the server sees it."""
    names = ["ada", "", "x" * 64, "名前", "ada"]
    line = [room.join(name) for name in names]
    line[0].command(1, results=True, quiet=True)
    line[0].command(2, Target.ONE, 3, results=True, quiet=True)
    members = line[0].who(9)
    assert members == Members(
        9,
        line[0].joined.seq + 6,  # four more joins, two commands
        5,
        tuple(
            Seat(rank, peer.ticket, (0, 1, 1, 2, 1)[rank], State.PRESENT, names[rank], peer.address)
            for rank, peer in enumerate(line)
        ),
    )


@pytest.mark.parametrize("rank", range(4))
def test_every_member_may_ask(room: Server, rank: int) -> None:
    line = room.line(4)
    members = line[rank].who()
    assert [seat.ticket for seat in members.seats] == [peer.ticket for peer in line]
    assert members.seq == line[-1].joined.seq


@pytest.mark.parametrize(
    ("first_rank", "count", "ranks"),
    [
        (0, 100, range(5)),
        (0, 5, range(5)),
        (0, 1, range(1)),
        (0, 0, range(0)),
        (1, 2, range(1, 3)),
        (3, 2, range(3, 5)),
        (3, 3, range(3, 5)),
        (4, 1, range(4, 5)),
        (4, U32_MAX, range(4, 5)),
        (0, U32_MAX, range(5)),
        (5, 1, range(0)),
        (5, 0, range(0)),
        (1000, 1000, range(0)),
        (U32_MAX, 1, range(0)),
        (U32_MAX, U32_MAX, range(0)),
    ],
)
def test_pages(room: Server, first_rank: int, count: int, ranks: range) -> None:
    """The requested members that exist; the total counts all members."""
    line = room.line(5)
    members = line[2].who(1, first_rank, count)
    assert [seat.rank for seat in members.seats] == list(ranks)
    assert [seat.ticket for seat in members.seats] == [line[rank].ticket for rank in ranks]
    assert members.total == 5


@pytest.mark.parametrize("ident", [0, 1, U32_MAX])
def test_who_s_id_comes_back(room: Server, ident: int) -> None:
    assert room.join().who(ident).id == ident


def test_a_page_is_a_frame_within_the_bound(serve: Serve) -> None:
    """A page ends before the frame length bound; the next page continues from there."""
    server = serve(40, "--max-payload", "1024")
    line = [server.join(f"{number:064}") for number in range(40)]
    seats: list[Seat] = []
    pages = 0
    while len(seats) < 40:
        page = line[7].who(pages, len(seats), 1000)  # a longer frame would be rejected as malformed
        assert page.seats, "an empty page although there is more"
        assert page.seats[0].rank == len(seats)
        assert page.total == 40
        seats += page.seats
        pages += 1
    assert pages > 1
    assert [seat.ticket for seat in seats] == [peer.ticket for peer in line]
    assert [seat.name for seat in seats] == [f"{number:064}" for number in range(40)]


def test_who_after_changes(room: Server) -> None:
    line = room.line(4)
    seq = line[-1].joined.seq
    line[1].leave()
    line[1].expect_close()
    line[0].expect_quiet()
    members = line[0].who()
    assert members.seq == seq + 1
    assert [seat.ticket for seat in members.seats] == [line[rank].ticket for rank in (0, 2, 3)]
    line[0].command(1, quiet=True)
    assert line[0].who().seq == seq + 2
    late = room.join("late")
    members = line[0].who()
    assert (members.seq, members.total) == (seq + 3, 4)
    assert members.seats[-1] == Seat(3, late.ticket, 0, State.PRESENT, "late", late.address)


def test_many_whos_are_answered_in_order(room: Server) -> None:
    peer = room.join()
    peer.send(*(Who(number, 0, 1) for number in range(100)))
    for number in range(100):
        peer.expect(Members, id=number)


# PING


@pytest.mark.parametrize("size", [0, 1, 63, 64])
def test_a_ping_s_bytes_come_back(room: Server, size: int) -> None:
    peer = room.join()
    peer.ping(bytes(range(255, 255 - size, -1)))
    peer.expect_quiet()


def test_pings_are_answered_in_order(room: Server) -> None:
    peer = room.join()
    peer.send(*(Ping(b"%d" % number) for number in range(500)))
    for number in range(500):
        peer.expect(Pong, opaque=b"%d" % number)


def test_a_ping_is_answered_to_its_sender_only(room: Server) -> None:
    line = room.line(3)
    line[1].ping(b"mine")
    line[0].expect_quiet()
    line[2].expect_quiet()


def test_an_unsolicited_pong_is_harmless(room: Server) -> None:
    peer = room.join()
    peer.send(Pong(), Pong(b"x" * 64))
    peer.expect_quiet()


# LEAVE


@pytest.mark.parametrize("half", [False, True], ids=["LEAVE", "half-close"])
def test_what_is_owed_comes_before_the_end(room: Server, half: bool) -> None:
    leaver, junior = room.line(2)
    leaver.command(1, payload=b"last")
    leaver.send(Who(2), Ping(b"3"))
    if half:
        leaver.half_close()
    else:
        leaver.send(Leave())
    seen = leaver.drain()
    assert sorted(type(frame).__name__ for frame in seen) == ["Accepted", "Members", "Pong"]
    junior.expect_execute(0, b"last")
    junior.expect(Rank, rank=0, members=1, cause=1)


@pytest.mark.parametrize("half", [False, True], ids=["LEAVE", "half-close"])
def test_a_backlog_comes_before_the_end_too(room: Server, half: bool) -> None:
    """Frames that were dispatched to a slow reader before it left are still sent to it."""
    sender = room.join()
    leaver = room.join(receive_buffer=4096)
    for number in range(14):
        sender.command(number, payload=bytes([number]) * 60_000, quiet=True)
    sender.expect_quiet()  # so all commands have been dispatched
    if half:
        leaver.half_close()
    else:
        leaver.leave()
    seen = leaver.drain()
    assert [frame.payload[:1] for frame in seen if isinstance(frame, Execute)] == [
        bytes([number]) for number in range(14)
    ]
    assert len(seen) == 14


def test_a_member_that_leaves_and_does_not_read_is_closed(room: Server) -> None:
    """Its seat is free at once, and the server waits for the connection for at most a second."""
    sender = room.join()
    before = room.descriptors()
    leaver = room.join(receive_buffer=4096)
    for number in range(14):
        sender.command(number, payload=bytes(60_000), quiet=True)
    sender.expect_quiet()
    began = time.monotonic()
    leaver.leave()
    sender.wait_for_total(1)
    assert time.monotonic() - began < 0.9, "its seat is held until it has read"
    while room.descriptors() > before:
        assert time.monotonic() - began < 3.0, "still connected"
        time.sleep(0.02)
