"""Section 9, restart: the room that a clean stop stores and the next start loads."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from .frames import (
    Accepted,
    Baton,
    Cause,
    Code,
    Execute,
    Hello,
    How,
    Rank,
    Refusal,
    Refused,
    Welcome,
    Write,
    Yield,
    Yielded,
    resume,
)

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Serve
    from .peer import Peer
    from .process import Server

SECRET = b"0123456789abcdef"
OTHER = b"fedcba9876543210"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


def stop(server: Server, *peers: Peer) -> None:
    """Stop it cleanly; these peers get SHUTDOWN."""
    server.signal(signal.SIGTERM)
    for peer in peers:
        peer.expect_error(Code.SHUTDOWN)
        peer.close()
    assert server.wait() == 0


def start(serve: Serve, path: Path, seats: int = 6, *flags: str) -> Server:
    """A server that stores its room; the first ticket matters to a new instance only."""
    return serve(seats, "--state", str(path), *flags, first_ticket=1)


def test_the_seats_come_back(serve: Serve, path: Path) -> None:
    """Section 9: the same instance, tickets and ranks; members without a keep have departed."""
    server = start(serve, path)
    first = server.keep(SECRET, "one", keep_ms=30_000)
    plain = server.join("plain")
    third = server.keep(OTHER, "three")
    stop(server, first, plain, third)
    server = start(serve, path)
    witness = server.observe()
    members = witness.who()
    assert [(seat.ticket, seat.name, seat.state) for seat in members.seats] == [
        (first.ticket, "one", 1),
        (third.ticket, "three", 1),
    ]
    assert witness.joined.instance == first.joined.instance
    assert members.seq >= third.joined.seq + 1
    back = server.keep(OTHER)
    assert (back.joined.how, back.ticket, back.joined.rank) == (How.RETURNED, third.ticket, 1)
    assert back.joined.seq > members.seq
    back = server.keep(SECRET)
    assert (back.joined.how, back.ticket, back.joined.rank) == (How.RETURNED, first.ticket, 0)


def test_departures_of_the_stop_take_their_seqs(serve: Serve, path: Path) -> None:
    """Section 9: seqs and tickets continue."""
    server = start(serve, path)
    kept = server.keep(SECRET)
    plain = server.line(3)
    seq = plain[-1].joined.seq
    stop(server, kept, *plain)
    server = start(serve, path)
    late = server.join()
    assert late.ticket == plain[-1].ticket + 1
    assert (late.joined.rank, late.joined.members) == (1, 2)
    assert late.joined.seq >= seq + 3 + 1


def test_an_empty_room_goes_on_too(serve: Serve, path: Path) -> None:
    server = start(serve, path)
    plain = server.join()
    stop(server, plain)
    server = start(serve, path)
    late = server.join()
    assert late.joined.instance == plain.joined.instance
    assert (late.ticket, late.joined.rank) == (plain.ticket + 1, 0)
    assert late.joined.seq > plain.joined.seq


def test_absent_ones_and_present_ones(serve: Serve, path: Path) -> None:
    """Section 9: all are absent, also those that were present."""
    server = start(serve, path)
    lost, there = server.keep(SECRET), server.keep(OTHER)
    lost.close()
    while [seat.state for seat in there.who().seats] != [1, 0]:
        pass
    stop(server, there)
    server = start(serve, path)
    late = server.join()
    assert [seat.state for seat in late.who().seats] == [1, 1, 0]
    late.command(1)
    late.expect(Refused, code=Refusal.NO_TARGET)
    assert server.keep(SECRET).ticket == lost.ticket
    assert server.keep(OTHER).ticket == there.ticket


def test_keeps_run_from_the_start(serve: Serve, path: Path) -> None:
    """Section 9: the time in between does not count, and afterwards they run out."""
    server = start(serve, path)
    kept = server.keep(SECRET, keep_ms=1500)
    stop(server, kept)
    time.sleep(2.0)
    server = start(serve, path)
    late = server.join()
    assert late.joined.rank == 1
    began = time.monotonic()
    late.expect(Rank, rank=0, members=1, cause=Cause.LOST)
    assert time.monotonic() - began < 3.0


def test_the_baton_stays(serve: Serve, path: Path) -> None:
    server = start(serve, path)
    first = server.join()
    first.send(Write(1, b"note"))
    version = first.expect(Accepted).seq
    stop(server, first)
    server = start(serve, path)
    late = server.join()
    late.expect(Baton, seq=version, ticket=first.ticket, payload=b"note")


def test_a_new_ticket_stays(serve: Serve, path: Path) -> None:
    """Section 10: that of a yield."""
    server = start(serve, path)
    kept = server.keep(SECRET)
    junior = server.join()
    kept.send(Yield(1))
    ticket = kept.expect(Yielded).ticket
    junior.expect(Rank)
    stop(server, kept, junior)
    assert start(serve, path).keep(SECRET).ticket == ticket


def test_open_commands_are_forgotten(serve: Serve, path: Path) -> None:
    server = start(serve, path)
    sender, executor = server.keep(SECRET), server.keep(OTHER)
    sender.command(1, results=True)
    sender.expect(Accepted)
    seq = executor.expect(Execute).seq
    stop(server, sender, executor)
    server = start(serve, path)
    executor = server.keep(OTHER, last_seq=seq)
    sender = server.keep(SECRET)
    executor.result(seq)
    executor.expect_quiet()
    sender.expect_quiet()
    assert [seat.load for seat in sender.who().seats] == [0, 0]
    sender.command(1, results=True)
    sender.expect(Accepted, id=1)


# The file


def test_the_file_is_used_once(serve: Serve, path: Path) -> None:
    """Section 9: deleted at the start; a killed server leaves none, and the next one is a new instance."""
    server = start(serve, path)
    assert not path.exists()
    kept = server.keep(SECRET)
    stop(server, kept)
    assert path.exists()
    assert path.stat().st_mode & 0o077 == 0
    server = start(serve, path)
    assert not path.exists()
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    fresh = start(serve, path).keep(SECRET)
    assert fresh.joined.how == How.NEW
    assert fresh.joined.instance != kept.joined.instance
    assert fresh.joined.seq == 1


def test_the_secret_is_not_in_the_file(serve: Serve, path: Path) -> None:
    server = start(serve, path)
    kept = server.keep(SECRET)
    stop(server, kept)
    stored = path.read_bytes()
    assert SECRET not in stored
    assert SECRET.hex().encode() not in stored.lower()


@pytest.mark.slow
def test_a_damaged_file(serve: Serve, path: Path) -> None:
    """Section 9: cut short, a bit changed, extra bytes at its end, or an empty file: a new instance."""
    server = start(serve, path)
    kept = server.keep(SECRET)
    stop(server, kept)
    stored = path.read_bytes()
    flipped = bytearray(stored)
    flipped[len(flipped) // 2] ^= 1
    for damaged in (
        stored[:-1],
        stored[: len(stored) // 2],
        bytes(flipped),
        stored + b"x",
        b"",
        b"\xff" * 100,
    ):
        path.write_bytes(damaged)
        server = start(serve, path)
        fresh = server.keep(SECRET)
        assert fresh.joined.how == How.NEW
        assert fresh.joined.instance != kept.joined.instance
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
    path.write_bytes(stored)
    assert start(serve, path).keep(SECRET).joined.how == How.RETURNED


def test_fewer_seats_than_before(serve: Serve, path: Path) -> None:
    """Section 9: kept seats are restored all the same; newcomers wait until one is free."""
    server = start(serve, path)
    kept = [server.keep(SECRET), server.keep(OTHER)]
    stop(server, *kept)
    server = start(serve, path, 2)
    late = server.connect()
    late.send(Hello())
    late.expect_error(Code.FULL)
    assert server.keep(SECRET).ticket == kept[0].ticket


def test_without_a_file_a_start_is_a_new_instance(serve: Serve) -> None:
    server = serve(3)
    kept = server.keep(SECRET)
    stop(server, kept)
    fresh = serve(3).keep(SECRET)
    assert (fresh.joined.how, fresh.joined.seq) == (How.NEW, 1)
    assert fresh.joined.instance != kept.joined.instance


def test_a_keep_longer_than_the_new_maximum(serve: Serve, path: Path) -> None:
    """Section 9: granted anew at the return."""
    server = start(serve, path)
    kept = server.keep(SECRET)
    stop(server, kept)
    server = start(serve, path, 6, "--keep-max-s", "5")
    back = server.connect()
    welcome = back.hello(resume=resume(SECRET))
    assert isinstance(welcome, Welcome)
    assert (welcome.how, welcome.keep_ms) == (How.RETURNED, 5000)
