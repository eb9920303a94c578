"""Sections 4, 7 and 9: an operator throws a member out by its ticket, present or absent (cause 3, KICKED)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .admin import kick, request, socket_path
from .frames import (
    WATCH,
    Accepted,
    Cause,
    Changed,
    Code,
    Command,
    Done,
    Error,
    Execute,
    How,
    Rank,
    Routed,
    Status,
    What,
)
from .line import lose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Serve
    from .process import Server

SECRET = b"0123456789abcdef"


@pytest.fixture
def where() -> Iterator[str]:
    yield from socket_path()


@pytest.fixture
def ruled(serve: Serve, where: str) -> Server:
    """A server with an admin endpoint at `where`."""
    return serve(6, "--admin-unix", where)


def test_a_member_is_thrown_out(ruled: Server, where: str) -> None:
    """Sections 4 and 7: 204, ERROR KICKED, and a departure with cause 3."""
    senior, member, junior = ruled.line(3)
    watcher = ruled.watch()
    base = junior.joined.seq
    assert kick(where, member.ticket) == 204
    assert member.expect_error(Code.KICKED).text
    junior.expect(Rank, seq=base + 1, rank=1, members=2, cause=Cause.EVICTED)
    watcher.expect(Changed, seq=base + 1, what=What.EVICTED, ticket=member.ticket, rank=1, members=2)
    senior.expect_quiet()
    assert kick(where, member.ticket) == 404


def test_a_command_of_one_that_is_thrown_out(ruled: Server, where: str) -> None:
    """Section 6: its outstanding results end LEFT; the commands that it sent before count."""
    sender, member, junior = ruled.line(3)
    sender.command(1, results=True)
    seq = sender.expect(Accepted, executors=2).seq
    member.send(Command(2, payload=b"mine"))
    member.expect(Execute, seq=seq)
    member.expect(Accepted, id=2)
    assert kick(where, member.ticket) == 204
    sender.expect(Routed, id=1, ticket=member.ticket, status=Status.LEFT)
    junior.expect(Execute, seq=seq)
    junior.expect_execute(1, b"mine")
    junior.result(seq)
    sender.expect(Routed, id=1, ticket=junior.ticket, status=Status.OK)
    sender.expect(Done, id=1, ok=1, left=1)
    member.expect_error(Code.KICKED)


def test_rank_0_is_thrown_out(ruled: Server, where: str) -> None:
    first, second = ruled.line(2)
    assert kick(where, first.ticket) == 204
    first.expect_error(Code.KICKED)
    second.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)
    assert kick(where, second.ticket) == 204
    second.expect_error(Code.KICKED)
    assert ruled.join().joined.rank == 0


def test_a_kept_seat_ends(ruled: Server, where: str) -> None:
    """Section 9: at once, present or absent; the secret is unknown afterwards."""
    present = ruled.keep(SECRET)
    witness = ruled.join()
    assert kick(where, present.ticket) == 204
    present.expect_error(Code.KICKED)
    witness.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)
    again = ruled.keep(SECRET)
    assert again.joined.how == How.NEW
    lose(witness, again)
    last = ruled.connect()
    last.hello(flags=WATCH)
    assert kick(where, again.ticket) == 204
    last.expect(Rank, rank=1, members=2, cause=Cause.EVICTED)
    last.expect(Changed, what=What.EVICTED, ticket=again.ticket, rank=1, members=2)
    assert ruled.keep(SECRET).joined.how == How.NEW
    assert witness.who().total == 3


def test_an_absent_leader_is_thrown_out(ruled: Server, where: str) -> None:
    """Section 9: which ends a time without a leader."""
    leader = ruled.keep(SECRET)
    second = ruled.join()
    lose(second, leader)
    assert kick(where, leader.ticket) == 204
    second.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)


@pytest.mark.parametrize("ticket", ["0", "99", "9007199254740993"])
def test_a_ticket_without_a_seat(ruled: Server, where: str, ticket: str) -> None:
    """Section 9: 404, and no member is affected; ticket 0 does not name an observer."""
    member = ruled.join()
    eye = ruled.observe()
    assert kick(where, ticket) == 404
    member.expect_quiet()
    eye.expect_quiet()


@pytest.mark.parametrize(
    "target",
    ["/kick", "/kick?ticket=", "/kick?ticket=x", "/kick?ticket=-1", "/kick?ticket=1.0", "/kick?ticket=1e0"],
)
def test_a_request_that_names_no_ticket(ruled: Server, where: str, target: str) -> None:
    member = ruled.join()
    assert 400 <= request(where, "POST", target) < 500
    member.expect_quiet()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method(ruled: Server, where: str, method: str) -> None:
    member = ruled.join()
    assert request(where, method, f"/kick?ticket={member.ticket}") in {404, 405}
    member.expect_quiet()


def test_two_kicks(ruled: Server, where: str) -> None:
    line = ruled.line(4)
    for rank in (0, 2):
        assert kick(where, line[rank].ticket) == 204
    for rank in (0, 2):
        last = line[rank].drain()[-1]
        assert isinstance(last, Error)
        assert last.code == Code.KICKED
    assert [seat.ticket for seat in ruled.observe().who().seats] == [line[1].ticket, line[3].ticket]


def test_a_kick_over_tcp_is_refused(serve: Serve) -> None:
    """Only the Unix socket accepts it, whose mode decides about access."""
    server = serve(3, "--admin", "0")
    member = server.join()
    assert request(server.admin_address(), "POST", f"/kick?ticket={member.ticket}") in {403, 405}
    member.expect_quiet()
