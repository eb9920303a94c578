"""Section 9: the return to a kept seat, and what was open when the connection was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import (
    U64_MAX,
    Accepted,
    Cancel,
    Cause,
    Code,
    Command,
    Done,
    Execute,
    Hello,
    How,
    Ping,
    Pong,
    Rank,
    Result,
    Routed,
    State,
    Status,
    Target,
    Welcome,
    resume,
)
from .line import loads, lose, states

if TYPE_CHECKING:
    from .conftest import Serve
    from .process import Server

SECRET = b"0123456789abcdef"
OTHER = b"fedcba9876543210"
THIRD = b"x" * 32


# Return


def test_the_seat_comes_back(room: Server) -> None:
    """Section 9: the same ticket, the present rank, how = 1, a separate seq; no other member is informed."""
    senior = room.join()
    kept = room.keep(SECRET, "old")
    junior = room.join()
    lose(senior, kept)
    base = senior.who().seq
    back = room.keep(SECRET, "new", keep_ms=30_000)
    welcome = back.joined
    assert (welcome.how, welcome.keep_ms) == (How.RETURNED, 30_000)
    assert (welcome.ticket, welcome.rank, welcome.members) == (kept.ticket, 1, 3)
    assert (welcome.seq, welcome.instance) == (base + 1, kept.joined.instance)
    seat = senior.who().seats[1]
    assert (seat.ticket, seat.name, seat.state, seat.address) == (
        kept.ticket,
        "new",
        State.PRESENT,
        back.address,
    )
    senior.expect_quiet()
    junior.expect_quiet()
    senior.command(1, Target.NEXT, payload=b"welcome back")
    back.expect_execute(0, b"welcome back")
    back.command(2)
    back.expect(Accepted, executors=1, rejected=1)


def test_again_and_again(room: Server) -> None:
    witness = room.join()
    peer = room.keep(SECRET)
    ticket = peer.ticket
    for _ in range(5):
        lose(witness, peer)
        peer = room.keep(SECRET)
        assert (peer.joined.how, peer.ticket, peer.joined.rank) == (How.RETURNED, ticket, 1)


def test_a_return_to_a_full_room(serve: Serve) -> None:
    """Section 9: never FULL."""
    server = serve(2)
    kept = server.keep(SECRET)
    witness = server.join()
    lose(witness, kept)
    late = server.connect()
    late.send(Hello())
    late.expect_error(Code.FULL)
    back = server.keep(SECRET)
    assert (back.joined.how, back.joined.rank, back.joined.members) == (How.RETURNED, 0, 2)


def test_an_unknown_secret_in_a_full_room(serve: Serve) -> None:
    server = serve(1)
    server.keep(SECRET)
    late = server.connect()
    late.send(Hello(resume=resume(OTHER)))
    late.expect_error(Code.FULL)


@pytest.mark.parametrize(
    "secret",
    [SECRET[:-1] + b"g", SECRET + b"\0", SECRET + SECRET, OTHER],
    ids=["last byte", "longer", "twice", "other"],
)
def test_another_secret_is_another_seat(room: Server, secret: bytes) -> None:
    """Section 9: how = 0, at the end of the line."""
    kept = room.keep(SECRET)
    peer = room.keep(secret)
    assert (peer.joined.how, peer.joined.rank) == (How.NEW, 1)
    kept.expect_quiet()
    witness = room.join()
    lose(witness, kept, peer)
    assert room.keep(secret).ticket == peer.ticket
    assert room.keep(SECRET).ticket == kept.ticket


def test_two_returns_in_one_turn(room: Server) -> None:
    """Section 4: in the order of the connections, whatever their ranks."""
    witness = room.join()
    first, second = room.keep(SECRET), room.keep(OTHER)
    lose(witness, first, second)
    base = witness.who().seq
    doors = [room.connect() for _ in range(2)]
    witness.ping()
    with room.one_turn():
        doors[1].send(room.returning(SECRET))
        doors[0].send(room.returning(OTHER))
    doors[0].expect(Welcome, seq=base + 1, ticket=second.ticket, rank=2)
    doors[1].expect(Welcome, seq=base + 2, ticket=first.ticket, rank=1)


def test_frames_after_the_hello_of_a_return(room: Server) -> None:
    witness = room.join()
    kept = room.keep(SECRET)
    junior = room.join()
    lose(witness, kept)
    back = room.connect()
    back.send(Hello(resume=resume(SECRET)), Command(1, payload=b"at once"), Ping(b"x"))
    back.expect(Welcome, rank=1)
    back.expect(Accepted, id=1, executors=1)
    back.expect(Pong, opaque=b"x")
    junior.expect_execute(1, b"at once")


def test_a_return_without_a_further_keep(room: Server) -> None:
    """Section 9: the keep is that of the new HELLO; a short one then runs out."""
    witness = room.join()
    kept = room.keep(SECRET)
    junior = room.join()
    lose(witness, kept)
    back = room.keep(SECRET, keep_ms=1)
    assert (back.joined.how, back.joined.keep_ms) == (How.RETURNED, 1)
    back.close()
    junior.expect(Rank, rank=1, members=2, cause=Cause.LOST)


def test_a_keep_of_zero_does_not_return(room: Server) -> None:
    witness = room.join()
    kept = room.keep(SECRET)
    lose(witness, kept)
    peer = room.connect()
    welcome = peer.hello(resume=resume(SECRET, 0))
    assert (welcome.how, welcome.rank, welcome.members) == (How.NEW, 2, 3)
    assert states(witness) == [State.PRESENT, State.ABSENT, State.PRESENT]
    assert room.keep(SECRET).ticket == kept.ticket


# HELLOs that fail


def test_a_hello_that_fails_changes_nothing(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Section 9: a wrong token, version, flag or name with the right secret, absent or present."""
    token = b"correct horse battery staple"
    path = tmp_path_factory.mktemp("t") / "token"
    path.touch(mode=0o600)
    path.write_bytes(token)
    server = serve(3, "--token-file", str(path))
    kept = server.connect()
    kept.hello("k", token, resume=resume(SECRET))
    witness = server.connect()
    witness.hello(token=token)
    seq = witness.joined.seq
    for present in (True, False):
        if not present:
            lose(witness, kept)
            seq += 1
        for hello, code in (
            (Hello(token=b"wrong", resume=resume(SECRET)), Code.AUTH),
            (Hello(2, 0, "", token, resume(SECRET)), Code.UNSUPPORTED),
            (Hello(1, 8, "", token, resume(SECRET)), Code.PROTOCOL),
            (Hello(1, 0, "bad\n", token, resume(SECRET)), Code.PROTOCOL),
            (Hello(1, 0, "", token, resume(SECRET) + bytes(17)), Code.PROTOCOL),
        ):
            peer = server.connect()
            peer.send(hello)
            peer.expect_error(code)
        members = witness.who()
        assert members.seq == seq
        assert [(seat.name, seat.state) for seat in members.seats] == [
            ("k", State.PRESENT if present else State.ABSENT),
            ("", State.PRESENT),
        ]
    back = server.connect()
    assert back.hello(token=token, resume=resume(SECRET)).ticket == kept.ticket


# Results that it owes


def test_an_answer_after_the_return_counts(room: Server) -> None:
    """Section 9: the commands that it was executing stay open; parts and end arrive over the new connection."""
    sender = room.join()
    kept = room.keep(SECRET)
    sender.command(1, results=True, payload=b"x")
    sender.expect(Accepted, id=1)
    seq = kept.expect(Execute).seq
    kept.result(seq, Status.PART, b"half")
    sender.expect(Routed, id=1, status=Status.PART)
    lose(sender, kept)
    assert loads(sender) == [0, 1]
    back = room.keep(SECRET, last_seq=seq)
    back.result(seq, Status.PART, b"more")
    back.result(seq, Status.OK, b"end")
    sender.expect(Routed, id=1, ticket=kept.ticket, rank=1, status=Status.PART, payload=b"more")
    sender.expect(Routed, id=1, status=Status.OK, payload=b"end")
    sender.expect(Done, id=1, ok=1)
    assert loads(sender) == [0, 0]
    back.result(seq, Status.OK, b"once more")
    sender.expect_quiet()


def test_commands_above_last_seq_end_left(room: Server) -> None:
    """Section 9: commands with a larger seq end LEFT, those that it has received stay open."""
    sender = room.join()
    kept = room.keep(SECRET)
    seqs = []
    for number in range(4):
        sender.command(number, results=True)
        seqs.append(sender.expect(Accepted, id=number).seq)
    lose(sender, kept)
    back = room.keep(SECRET, last_seq=seqs[1])
    left = [sender.expect(Routed, status=Status.LEFT, rank=1, ticket=kept.ticket).id for _ in range(2)]
    assert sorted(left) == [2, 3]
    for number in (2, 3):
        sender.expect(Done, id=number, left=1)
    sender.expect_quiet()
    assert loads(sender) == [0, 2]
    late, second, first = (seqs[2], b"too late"), (seqs[1], b"second"), (seqs[0], b"first")
    back.send(*(Result(seq, Status.OK, payload) for seq, payload in (late, second, first)))
    sender.expect(Routed, id=1, status=Status.OK, payload=b"second")
    sender.expect(Routed, id=0, status=Status.OK, payload=b"first")


def test_a_restarted_program_owes_no_results(room: Server) -> None:
    """Section 9: last_seq = 0, so that everything open ends LEFT."""
    sender = room.join()
    kept = room.keep(SECRET)
    junior = room.join()
    sender.command(1, results=True)
    seq = sender.expect(Accepted, id=1, executors=2).seq
    kept.expect(Execute, seq=seq)
    junior.expect(Execute, seq=seq)
    lose(sender, kept)
    room.keep(SECRET)
    sender.expect(Routed, id=1, ticket=kept.ticket, status=Status.LEFT)
    sender.expect_quiet()
    junior.result(seq)
    sender.expect(Routed, id=1, ticket=junior.ticket, status=Status.OK)
    sender.expect(Done, id=1, ok=1, left=1)


def test_a_last_seq_of_the_future_keeps_all_open(room: Server) -> None:
    sender = room.join()
    kept = room.keep(SECRET)
    sender.command(1, results=True)
    seq = sender.expect(Accepted, id=1).seq
    lose(sender, kept)
    back = room.keep(SECRET, last_seq=U64_MAX)
    sender.expect_quiet()
    back.result(seq)
    sender.expect(Routed, id=1, status=Status.OK)


def test_a_command_expires_while_its_executor_is_absent(room: Server) -> None:
    sender = room.join()
    kept = room.keep(SECRET)
    sender.command(1, results=True, ttl_ms=300)
    seq = sender.expect(Accepted, id=1).seq
    lose(sender, kept)
    sender.expect(Routed, id=1, ticket=kept.ticket, status=Status.EXPIRED)
    sender.expect(Done, id=1, expired=1)
    back = room.keep(SECRET, last_seq=seq)
    back.result(seq)
    sender.expect_quiet()


def test_the_end_of_the_seat_ends_its_outstanding_results(room: Server) -> None:
    """Section 9: LEFT, when the keep runs out."""
    sender = room.join()
    kept = room.keep(SECRET, keep_ms=300)
    sender.command(1, results=True)
    sender.expect(Accepted, id=1)
    kept.close()
    sender.expect(Routed, id=1, ticket=kept.ticket, rank=1, status=Status.LEFT)
    sender.expect(Done, id=1, left=1)
    sender.wait_for_total(1)


# Its pending commands


def test_its_pending_commands_are_forgotten(room: Server) -> None:
    """Section 9: the executors continue, their results are dropped, and the ids are free."""
    kept = room.keep(SECRET)
    junior = room.join()
    kept.command(7, results=True, payload=b"x")
    seq = junior.expect(Execute).seq
    lose(junior, kept)
    junior.expect_quiet()
    assert loads(junior) == [0, 0]
    back = room.keep(SECRET)
    junior.result(seq, payload=b"nobody waits")
    back.expect_quiet()
    back.command(7, results=True)
    back.expect(Accepted, id=7)


def test_a_cancel_of_a_command_from_before(room: Server) -> None:
    """Section 6: only the connection that sent a command can cancel it."""
    kept = room.keep(SECRET)
    junior = room.join()
    kept.command(7, results=True)
    junior.expect(Execute)
    lose(junior, kept)
    back = room.keep(SECRET)
    back.send(Cancel(7))
    back.expect_quiet()
    junior.expect_quiet()
