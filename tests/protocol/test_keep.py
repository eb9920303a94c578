"""Section 9: a seat that outlives its connection: asked for, lost, returned to, and run out."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from ..support.patience import until
from .frames import (
    RESULTS,
    U32_MAX,
    U64_MAX,
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
    named,
    resume,
)
from .line import executors, loads, lose, states
from .peer import DEADLINE_S

if TYPE_CHECKING:
    from .conftest import Serve
    from .peer import Peer
    from .process import Server

SECRET = b"0123456789abcdef"
OTHER = b"fedcba9876543210"
THIRD = b"x" * 32


# Asking


@pytest.mark.parametrize("size", range(16, 33))
def test_a_secret_of_16_to_32_bytes(room: Server, size: int) -> None:
    """Section 2: resume blocks of 28 to 44 bytes."""
    secret = bytes(range(255, 255 - size, -1))
    welcome = room.keep(secret).joined
    assert len(welcome.resume) == 5
    assert (welcome.how, welcome.keep_ms, welcome.rank) == (How.NEW, 60_000, 0)


@pytest.mark.parametrize("asked", [1, 59_999, 60_000, 60_001, U32_MAX])
def test_the_keep_is_granted_up_to_the_maximum(room: Server, asked: int) -> None:
    """Section 9: min(asked, keep_max_s), 60 s by default."""
    assert room.keep(SECRET, keep_ms=asked).joined.keep_ms == min(asked, 60_000)


@pytest.mark.parametrize("keep_max_s", [2, 3600])
def test_the_maximum_may_be_set(serve: Serve, keep_max_s: int) -> None:
    server = serve(3, "--keep-max-s", str(keep_max_s))
    assert server.keep(SECRET, keep_ms=U32_MAX).joined.keep_ms == min(keep_max_s * 1000, U32_MAX)
    assert server.keep(OTHER, keep_ms=1500).joined.keep_ms == 1500


def test_without_the_block_all_is_as_before(room: Server) -> None:
    """Section 9: no block in WELCOME, and the seat ends with the connection."""
    peer, junior = room.line(2)
    assert peer.joined.resume == b""
    peer.reset()
    junior.expect(Rank, rank=0, members=1, cause=Cause.LOST)


def test_a_keep_of_zero_is_an_ordinary_join(room: Server) -> None:
    """Section 9: how = 0, granted 0; the secret is not looked at, not even that of a held seat."""
    kept = room.keep(SECRET)
    plain = room.connect()
    welcome = plain.hello(resume=resume(SECRET, 0))
    assert (welcome.how, welcome.keep_ms, welcome.rank) == (How.NEW, 0, 1)
    kept.expect_quiet()
    third = room.connect()
    assert third.hello(resume=resume(OTHER, 0)).rank == 2
    assert room.keep(OTHER).joined.how == How.NEW  # nothing is bound to it
    plain.reset()
    third.expect(Rank, rank=1, members=3, cause=Cause.LOST)


def test_a_server_that_keeps_nothing(serve: Serve) -> None:
    """Section 9: with a maximum of 0 every HELLO is an ordinary join."""
    server = serve(3, "--keep-max-s", "0")
    first = server.keep(SECRET)
    assert (first.joined.how, first.joined.keep_ms) == (How.NEW, 0)
    junior = server.join()
    first.reset()
    junior.expect(Rank, rank=0, cause=Cause.LOST)


def test_the_last_seq_of_a_new_seat_does_not_matter(room: Server) -> None:
    welcome = room.keep(SECRET, last_seq=U64_MAX).joined
    assert welcome.how == How.NEW


def test_the_secret_is_not_shown(serve: Serve) -> None:
    """Section 9: not in MEMBERS, and not in the log."""
    server = serve(3)
    kept = server.keep(b"a secret in text", "ada")
    witness = server.join()
    lose(witness, kept)
    witness.who()
    assert b"a secret in text" not in witness.wire
    server.keep(b"a secret in text")
    assert "a secret in text" not in server.log()
    assert b"a secret in text".hex() not in server.log()


# Loss


def cut(server: Server, peer: Peer, how: str) -> None:
    if how == "close":
        peer.close()
    elif how == "half-close":
        peer.half_close()
    elif how == "reset":
        peer.reset()
    else:
        peer.raw(b"\0\0\0")
        peer.half_close()


CUTS = ["close", "half-close", "reset", "inside a frame"]


@pytest.mark.parametrize("how", CUTS)
def test_a_lost_member_is_absent(room: Server, how: str) -> None:
    """Section 9: ticket, rank and name stay, it counts, nobody's rank changes, and no RANK is sent."""
    senior = room.join("s")
    kept = room.keep(SECRET, "k")
    junior = room.join("j")
    base = junior.joined.seq
    with room.one_turn():
        cut(room, kept, how)
    members = senior.who()
    while members.seq == base:
        members = senior.who()
    assert (members.total, members.seq) == (3, base + 1)
    assert [(seat.rank, seat.ticket, seat.name, seat.state) for seat in members.seats] == [
        (0, senior.ticket, "s", State.PRESENT),
        (1, kept.ticket, "k", State.ABSENT),
        (2, junior.ticket, "j", State.PRESENT),
    ]
    assert members.seats[1].address == kept.address
    senior.expect_quiet()
    junior.expect_quiet()


def test_frames_that_arrived_before_the_loss_count(room: Server) -> None:
    senior = room.join()
    kept = room.keep(SECRET)
    junior = room.join()
    senior.command(1, payload=b"ask", results=True)
    seq = kept.expect(Execute).seq
    junior.expect(Execute)
    senior.expect(Accepted)
    with room.one_turn():
        kept.send(Result(seq, Status.OK, b"in time"), Command(2, payload=b"mine"))
        kept.raw(encode(Command(3))[:-1])
        kept.close()
    senior.expect(Routed, id=1, ticket=kept.ticket, status=Status.OK, payload=b"in time")
    junior.expect_execute(1, b"mine")
    junior.expect_quiet()


def test_a_half_close_still_gets_what_is_owed(room: Server) -> None:
    """Section 9: it is an end like any other, at once; what is due goes out for a second."""
    kept = room.keep(SECRET)
    junior = room.join()
    kept.send(Who(1), Ping(b"x"), Command(2, payload=b"last"))
    kept.half_close()
    assert [type(frame) for frame in kept.drain()] == [Accepted, Members, Pong]
    junior.expect_execute(0, b"last")
    assert states(junior) == [State.ABSENT, State.PRESENT]
    junior.expect_quiet()


def test_a_silent_member_is_absent(serve: Serve) -> None:
    """Section 9: no sign of life is a loss, and no departure."""
    server = serve(3, "--ping-ms", "200")
    kept = server.connect(answers_pings=False)
    kept.hello(resume=resume(SECRET))
    junior = server.join()
    kept.expect(Ping)
    until(lambda: states(junior) == [State.ABSENT, State.PRESENT], DEADLINE_S, "it is not absent")
    kept.drain()
    junior.expect_quiet()
    assert server.keep(SECRET).joined.how == How.RETURNED


def test_an_absent_member_takes_its_seat(serve: Serve) -> None:
    """Section 9: a room of which all seats are taken by absent ones is full."""
    server = serve(2)
    eye = server.observe()
    kept = [server.keep(secret) for secret in (SECRET, OTHER)]
    for peer in kept:
        peer.close()
    while states(eye) != [State.ABSENT] * 2:
        pass
    late = server.connect()
    late.send(Hello())
    late.expect_error(Code.FULL)
    assert server.keep(OTHER).joined.rank == 1
    assert eye.who().total == 2


def test_nothing_is_sent_to_an_absent_one(room: Server) -> None:
    """Section 9: nothing is replayed; it finds its new rank in WELCOME."""
    first, second = room.line(2)
    kept = room.keep(SECRET)
    last = room.join()
    lose(second, kept)
    second.command(1, payload=b"not for it")
    second.expect(Accepted, executors=1, absent=1)
    first.leave()
    last.expect_execute(1, b"not for it")
    last.expect(Rank, rank=2, members=3, cause=Cause.LEFT)
    back = room.keep(SECRET)
    assert (back.joined.rank, back.joined.members, back.ticket) == (1, 3, kept.ticket)
    back.expect_quiet()


# Commands and absent ones


@pytest.fixture
def gap(room: Server) -> list[Peer]:
    """Five members, of which those with rank 1 and 3 are absent."""
    first = room.join()
    one = room.keep(SECRET)
    middle = room.join()
    three = room.keep(OTHER)
    last = room.join()
    lose(first, one, three)
    return [first, one, middle, three, last]


def test_all_passes_over_absent_ones(gap: list[Peer]) -> None:
    """Section 5: executors + rejected + absent + 1 = members; absent seniors are among the rejected."""
    first, _, middle, _, last = gap
    first.command(1, payload=b"x")
    first.expect(Accepted, id=1, executors=2, rejected=0, absent=2)
    middle.expect_execute(0, b"x")
    middle.command(2, payload=b"y")
    middle.expect(Accepted, id=2, executors=1, rejected=2, absent=1)
    last.expect_execute(0, b"x")
    last.expect_execute(2, b"y")
    last.command(3)
    last.expect(Refused, id=3, code=Refusal.NO_TARGET)


def test_one_and_next_at_an_absent_one(gap: list[Peer]) -> None:
    """Section 5: ABSENT; NEXT does not look further."""
    first, _, middle, _, last = gap
    attempts = [
        (first, Command(1, Target.NEXT), Refusal.ABSENT),
        (first, Command(2, Target.ONE, 1), Refusal.ABSENT),
        (first, Command(3, Target.ONE, 3), Refusal.ABSENT),
        (middle, Command(4, Target.NEXT), Refusal.ABSENT),
        (middle, Command(5, Target.ONE, 1), Refusal.NOT_LOWER),
        (last, Command(6, Target.ONE, 3), Refusal.NOT_LOWER),
        (first, Command(7, Target.ONE, 5), Refusal.NO_SUCH_RANK),
    ]
    for sender, command, code in attempts:
        sender.send(command)
        assert sender.expect(Refused, id=command.id, code=code).text
    first.command(8, Target.ONE, 4, b"x")
    first.expect(Accepted, id=8, executors=1, rejected=0, absent=0)
    assert executors([first, middle, last]) == [2]


def test_least_ignores_absent_ones(room: Server) -> None:
    """Section 5: although their load is the smallest."""
    sender = room.join()
    lost = room.keep(SECRET)
    busy = room.join()
    lose(sender, lost)
    for number in range(3):
        sender.command(number, Target.LEAST, results=True)
        sender.expect(Accepted, id=number, executors=1, rejected=0, absent=0)
        busy.expect(Execute)
    assert loads(sender) == [0, 0, 3]


@pytest.mark.parametrize("target", [Target.ALL, Target.NEXT, Target.LEAST])
def test_nobody_present_below(room: Server, target: Target) -> None:
    """Section 5: ABSENT, and not NO_TARGET; before DUPLICATE."""
    senior, sender = room.line(2)
    lost = [room.keep(secret) for secret in (SECRET, OTHER)]
    sender.command(1, Target.ONE, 2, results=True)
    sender.expect(Accepted, id=1)
    lose(senior, *lost)
    for ident in (1, 2):
        sender.command(ident, target, results=True)
        sender.expect(Refused, id=ident, code=Refusal.ABSENT)
    sender.command(1, Target.ALL, payload=bytes(65_537))
    sender.expect(Refused, id=1, code=Refusal.TOO_BIG)
    room.join()
    sender.command(3, target)
    if target == Target.NEXT:
        sender.expect(Refused, id=3, code=Refusal.ABSENT)
    else:
        sender.expect(Accepted, id=3, executors=1)


def test_one_lost_in_the_turn_of_a_command_still_executes(room: Server) -> None:
    """Section 4: absences come behind commands; what never reached it ends LEFT when it returns with last_seq."""
    sender = room.join()
    kept = room.keep(SECRET)
    before = kept.joined.seq
    with room.one_turn():
        kept.close()
        sender.command(1, results=True, payload=b"x")
    seq = sender.expect(Accepted, id=1, executors=1, absent=0).seq
    assert seq == before + 1
    sender.expect_quiet()
    room.keep(SECRET, last_seq=before)
    sender.expect(Routed, id=1, ticket=kept.ticket, rank=1, status=Status.LEFT)
    sender.expect(Done, id=1, left=1)


def test_one_that_returns_in_the_turn_of_a_command_does_not_execute(room: Server) -> None:
    """Section 4: returns come behind commands."""
    sender = room.join()
    kept = room.keep(SECRET)
    junior = room.join()
    lose(sender, kept)
    back = room.connect()
    sender.ping()
    with room.one_turn():
        back.send(room.returning(SECRET))
        sender.command(1, payload=b"x")
        sender.command(2, Target.ONE, 1)
    seq = junior.expect(Execute).seq
    back.expect(Welcome, seq=seq + 1)
    back.expect_quiet()
    sender.expect(Accepted, id=1, executors=1, absent=1)
    sender.expect(Refused, id=2, code=Refusal.ABSENT)


# Return


def test_the_seat_comes_back(room: Server) -> None:
    """Section 9: the same ticket, the present rank, how = 1, a seq of its own; nobody is told."""
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


def test_frames_behind_the_hello_of_a_return(room: Server) -> None:
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


# What it owes


def test_an_answer_after_the_return_counts(room: Server) -> None:
    """Section 9: what it was executing stays open; parts and end arrive over the new connection."""
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


def test_last_seq_says_what_never_arrived(room: Server) -> None:
    """Section 9: what it owes with a larger seq ends LEFT, what it has seen stays open."""
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
    back.result(seqs[2], Status.OK, b"too late")
    back.result(seqs[1], Status.OK, b"second")
    back.result(seqs[0], Status.OK, b"first")
    sender.expect(Routed, id=1, status=Status.OK, payload=b"second")
    sender.expect(Routed, id=0, status=Status.OK, payload=b"first")


def test_a_program_that_was_restarted_owes_nothing(room: Server) -> None:
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


def test_the_end_of_the_seat_ends_what_was_owed(room: Server) -> None:
    """Section 9: LEFT, when the keep runs out."""
    sender = room.join()
    kept = room.keep(SECRET, keep_ms=300)
    sender.command(1, results=True)
    sender.expect(Accepted, id=1)
    kept.close()
    sender.expect(Routed, id=1, ticket=kept.ticket, rank=1, status=Status.LEFT)
    sender.expect(Done, id=1, left=1)
    sender.wait_for_total(1)


# What it waits for


def test_what_it_waited_for_is_forgotten(room: Server) -> None:
    """Section 9: the work goes on, the results go nowhere, and the ids are free."""
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


# The end of a seat


@pytest.mark.parametrize("keep_ms", [1, 200])
def test_a_keep_runs_out(room: Server, keep_ms: int) -> None:
    """Section 9: a departure with cause 2, not before its time."""
    first = room.join()
    kept = room.keep(SECRET, keep_ms=keep_ms)
    junior = room.join()
    base = junior.joined.seq
    began = time.monotonic()
    kept.close()
    junior.expect(Rank, seq=base + 2, rank=1, members=2, cause=Cause.LOST)
    assert keep_ms / 1000 <= time.monotonic() - began + 0.001 < keep_ms / 1000 + 1.5
    first.expect_quiet()
    assert first.who().total == 2
    again = room.keep(SECRET)
    assert (again.joined.how, again.joined.rank) == (How.NEW, 2)
    assert again.ticket > junior.ticket


def test_a_present_member_has_no_deadline(room: Server) -> None:
    """Section 9: the keep counts from the loss."""
    kept = room.keep(SECRET, keep_ms=100)
    witness = room.join()
    time.sleep(0.3)
    witness.ping()
    lose(witness, kept)
    back = room.keep(SECRET, keep_ms=100)
    assert back.joined.how == How.RETURNED
    time.sleep(0.3)
    assert states(witness) == [State.PRESENT, State.PRESENT]
    witness.expect_quiet()


def test_two_keeps_run_out_in_their_order(room: Server) -> None:
    first = room.keep(SECRET, keep_ms=600)
    second = room.keep(OTHER, keep_ms=200)
    junior = room.join()
    first.close()
    second.close()
    junior.expect(Rank, rank=1, members=2, cause=Cause.LOST)
    assert junior.who().seats[0].ticket == first.ticket
    junior.expect(Rank, rank=0, members=1, cause=Cause.LOST)


def test_a_return_in_the_turn_in_which_the_keep_runs_out(room: Server) -> None:
    """Section 4: the return comes first."""
    witness = room.join()
    kept = room.keep(SECRET, keep_ms=400)
    junior = room.join()
    lose(witness, kept)
    back = room.connect()
    witness.ping()
    room.pause()
    time.sleep(0.6)
    back.send(room.returning(SECRET))
    room.resume()
    welcome = back.expect(Welcome)
    assert (welcome.how, welcome.ticket, welcome.rank) == (How.RETURNED, kept.ticket, 1)
    junior.expect_quiet()


def test_leave_ends_a_kept_seat(room: Server) -> None:
    """Section 9: at once, with cause 1; the secret is unknown afterwards."""
    kept = room.keep(SECRET)
    junior = room.join()
    kept.leave()
    kept.expect_close()
    junior.expect(Rank, rank=0, members=1, cause=Cause.LEFT)
    again = room.keep(SECRET)
    assert (again.joined.how, again.joined.rank) == (How.NEW, 1)


def test_leave_and_the_end_in_one_turn(room: Server) -> None:
    kept = room.keep(SECRET)
    junior = room.join()
    with room.one_turn():
        kept.send(Leave())
        kept.close()
    junior.expect(Rank, rank=0, members=1, cause=Cause.LEFT)


def test_leave_and_a_new_hello_in_one_turn(room: Server) -> None:
    """Section 9: departures come before returns, so it is an ordinary join."""
    kept = room.keep(SECRET)
    junior = room.join()
    door = room.connect()
    junior.ping()
    with room.one_turn():
        door.send(room.returning(SECRET))
        kept.leave()
    junior.expect(Rank, rank=0, members=1, cause=Cause.LEFT)
    welcome = door.expect(Welcome)
    assert (welcome.how, welcome.rank, welcome.members) == (How.NEW, 1, 2)
    assert welcome.ticket > junior.ticket
    kept.expect_close()


@pytest.mark.parametrize(
    ("wire", "code"),
    [(bytes(4), Code.PROTOCOL), (b"\xff" * 4, Code.TOO_BIG), (b"\0\0\0\1\xff", Code.UNSUPPORTED)],
    ids=["PROTOCOL", "TOO_BIG", "UNSUPPORTED"],
)
def test_an_error_ends_a_kept_seat(room: Server, wire: bytes, code: Code) -> None:
    """Section 9: at once, with cause 3."""
    kept = room.keep(SECRET)
    junior = room.join()
    kept.raw(wire)
    kept.expect_error(code)
    junior.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)
    assert room.keep(SECRET).joined.how == How.NEW


def test_a_stalled_frame_ends_a_kept_seat(serve: Serve) -> None:
    server = serve(3, "--frame-timeout-s", "1")
    kept = server.keep(SECRET)
    junior = server.join()
    kept.raw(b"\0\0\1\0\2")
    kept.expect_error(Code.TIMEOUT)
    junior.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)
    assert server.keep(SECRET).joined.how == How.NEW


def test_a_slow_reader_s_kept_seat_ends(serve: Serve) -> None:
    """Section 9: SLOW is an ERROR of the server, so the member departs and is not absent."""
    server = serve(3, "--write-timeout-s", "1")
    sender = server.join()
    slow = server.connect(receive_buffer=4096)
    slow.hello(resume=resume(SECRET))
    junior = server.join()
    sender.sock.settimeout(20)
    for number in range(60):
        sender.send(Command(number, Target.ONE, 1, RESULTS, 0, bytes(65_536)))
        answer = sender.recv()
        if not isinstance(answer, Accepted):
            break
    junior.expect(Rank, rank=1, members=2, cause=Cause.EVICTED)


# Rank 0, and departures around absent ones


def test_there_is_no_acting_leader(room: Server) -> None:
    """Section 9: rank 0 stays with the absent one until its seat ends."""
    kept = room.keep(SECRET, keep_ms=500)
    second, third = room.line(2)
    lose(third, kept)
    second.command(1, Target.ONE, 0)
    second.expect(Refused, code=Refusal.NOT_LOWER)
    second.command(2)
    second.expect(Accepted, executors=1, rejected=1, absent=0)
    third.expect_execute(1, b"")
    second.expect(Rank, rank=0, members=2, cause=Cause.LOST)


def test_a_kept_member_behind_the_end_of_an_instance_is_told_shutdown(serve: Serve) -> None:
    server = serve(3)
    kept = server.keep(SECRET)
    server.signal(signal.SIGTERM)
    kept.expect(Error, code=Code.SHUTDOWN)


def test_a_room_of_absent_ones_only(room: Server) -> None:
    """Section 9: a newcomer stands behind all of them."""
    eye = room.observe()
    kept = [room.keep(secret) for secret in (SECRET, OTHER, THIRD)]
    lose(eye, *kept)
    late = room.join()
    assert (late.joined.rank, late.joined.members) == (3, 4)
    late.command(1)
    late.expect(Refused, code=Refusal.NO_TARGET)
    back = room.keep(OTHER)
    assert back.joined.rank == 1
    back.send(named(1, sorted(peer.ticket for peer in (*kept, late)), b"x"))
    back.expect(Accepted, executors=1, rejected=2, absent=1)
    late.expect_execute(1, b"x")
