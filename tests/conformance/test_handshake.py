"""Section 3, points 1 and 2: HELLO and what answers it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .frames import (
    Cause,
    Code,
    Command,
    Hello,
    Leave,
    Members,
    Ping,
    Pong,
    Rank,
    Refusal,
    Refused,
    Result,
    Welcome,
    Who,
    encode,
    encode_all,
    envelope,
)
from .peer import DEADLINE_S

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Serve
    from .process import Server

TOKEN = b"correct horse battery staple"


@pytest.fixture
def guarded(serve: Serve, tmp_path: Path) -> Server:
    """A server with three seats that asks for TOKEN."""
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_bytes(TOKEN)
    return serve(3, "--token-file", str(path))


def hello_body(
    version: int = 1, flags: int = 0, name: bytes = b"ada", token: bytes = b"", resume: bytes = b""
) -> bytes:
    """The body of a HELLO with any bytes for a name."""
    head = bytes([version, flags, len(name)]) + name
    return head + len(token).to_bytes(2, "big") + token + len(resume).to_bytes(2, "big") + resume


# WELCOME


def test_welcome_of_the_first_members(serve: Serve) -> None:
    """Ranks count up from 0 and seq from 1, whatever else it says stays the same."""
    server = serve(4)
    peers = server.line(3)
    welcomes = [peer.joined for peer in peers]
    for rank, welcome in enumerate(welcomes):
        assert (welcome.version, welcome.capacity, welcome.resume) == (1, 4, b"")
        assert (welcome.rank, welcome.members, welcome.seq) == (rank, rank + 1, rank + 1)
        assert (welcome.max_payload, welcome.ping_ms) == (65_536, 10_000)
        assert welcome.instance == welcomes[0].instance
    for peer in peers:
        peer.expect_quiet()  # a join is told to nobody


def test_welcome_states_the_settings(serve: Serve) -> None:
    server = serve(1, "--max-payload", "2048", "--ping-ms", "7000")
    welcome = server.join().joined
    assert (welcome.capacity, welcome.max_payload, welcome.ping_ms) == (1, 2048, 7000)


def test_tickets_grow_and_never_come_again(room: Server) -> None:
    tickets = []
    keeper = room.join()
    tickets.append(keeper.ticket)
    for _ in range(5):
        peer = room.join()
        tickets.append(peer.ticket)
        peer.leave()
        peer.expect_close()
    assert tickets == sorted(set(tickets))


def test_a_newcomer_gets_the_largest_rank(room: Server) -> None:
    first, _, third = room.line(3)
    first.leave()
    first.expect_close()
    third.expect(Rank, rank=1, members=2)
    assert room.join().joined.rank == 2


def test_another_start_is_another_instance(serve: Serve) -> None:
    welcomes = [serve(1).join().joined for _ in range(2)]
    assert welcomes[0].instance != welcomes[1].instance
    assert [welcome.seq for welcome in welcomes] == [1, 1]


# Before HELLO


def test_a_silent_connection_holds_nothing(room: Server) -> None:
    silent = room.connect()
    witness = room.join()
    assert witness.joined.rank == 0
    assert witness.who().total == 1
    silent.close()
    witness.expect_quiet()
    assert room.join().joined.rank == 1


@pytest.mark.parametrize(
    "frame",
    [Command(1), Result(1), Who(1), Ping(b"x"), Pong(b"x"), Leave()],
    ids=lambda frame: type(frame).__name__,
)
def test_another_frame_before_hello(room: Server, frame: Command) -> None:
    peer = room.connect()
    peer.send(frame)
    peer.expect_error(Code.PROTOCOL)


@pytest.mark.parametrize("kind", [0x00, 0x04, 0x09, 0x7F, 0x81, 0x89, 0xFF])
def test_a_type_that_is_none_before_hello(room: Server, kind: int) -> None:
    """It is both: a frame before the first, and a type that is not the client's."""
    peer = room.connect()
    peer.raw(envelope(kind, bytes(8)))
    error = peer.drain()[0]
    assert getattr(error, "code", None) in {Code.PROTOCOL, Code.UNSUPPORTED}


def test_a_hello_is_not_read_after_a_broken_frame(room: Server) -> None:
    witness = room.join()
    peer = room.connect()
    peer.raw(encode(Command(1)) + encode(Hello()))
    peer.expect_error(Code.PROTOCOL, reset_ok=True)
    assert witness.who().total == 1


def test_no_hello_in_time(serve: Serve) -> None:
    server = serve(2)
    witness = server.join()
    peer = server.connect()
    began = time.monotonic()
    peer.expect_error(Code.TIMEOUT)
    assert 1.8 < time.monotonic() - began < 4.0
    witness.expect_quiet()


def test_dripping_does_not_extend_the_handshake(serve: Serve) -> None:
    server = serve(2, "--handshake-timeout-s", "1")
    peer = server.connect()
    peer.raw(encode(Hello(token=bytes(1000)))[:10])
    assert 0.9 < peer.drip_until(Code.TIMEOUT) < 3.0


def test_a_member_has_no_handshake_to_finish(serve: Serve) -> None:
    server = serve(2, "--handshake-timeout-s", "1")
    member = server.join()
    server.connect().expect_error(Code.TIMEOUT)
    member.expect_quiet()


# Names


@pytest.mark.parametrize(
    "name",
    ["", "a", "ada lovelace", "x" * 64, "é" * 32, "名" * 21, "Ωμέγα", "🙂", "<b>&'\"\\", "a" * 63 + "~"],
)
def test_names_that_are_taken(room: Server, name: str) -> None:
    peer = room.connect()
    peer.hello(name)
    (seat,) = peer.who().seats
    assert seat.name == name


def test_names_need_not_be_unique(room: Server) -> None:
    peers = [room.join("ada") for _ in range(3)]
    assert [seat.name for seat in peers[0].who().seats] == ["ada"] * 3


@pytest.mark.parametrize(
    "name",
    [
        b"x" * 65,
        "é".encode() * 33,
        b"x" * 255,
        b"\0",
        b"a\nb",
        b"a\rb",
        b"tab\t",
        b"\x1b[31m",
        b"\x7f",
        "\x85".encode(),
        "\x9f".encode(),
        b"\xff",
        b"\xc3",
        b"a\x80",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
    ],
    ids=lambda name: name[:8].hex(),
)
def test_names_that_are_not_taken(room: Server, name: bytes) -> None:
    witness = room.join()
    peer = room.connect()
    peer.raw(envelope(Hello.kind, hello_body(name=name)))
    peer.expect_error(Code.PROTOCOL)
    assert witness.who().total == 1


# The body of HELLO


def test_a_hello_cut_short(room: Server) -> None:
    body = hello_body(name=b"ada", token=b"secret")
    for cut in range(2, len(body)):
        peer = room.connect()
        peer.raw(envelope(Hello.kind, body[:cut]))
        peer.expect_error(Code.PROTOCOL)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\1",
        hello_body() + b"\0",
        b"\1\0\xffada" + bytes(4),
        b"\1\0\3ada\xff\xff" + bytes(2),
        b"\1\0\3ada\0\0\0\1",
    ],
    ids=[
        "empty",
        "version only",
        "a byte too many",
        "name past the end",
        "token past the end",
        "resume past the end",
    ],
)
def test_a_hello_of_a_wrong_shape(room: Server, body: bytes) -> None:
    peer = room.connect()
    peer.raw(envelope(Hello.kind, body))
    peer.expect_error(Code.PROTOCOL)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version(room: Server, version: int) -> None:
    peer = room.connect()
    peer.raw(envelope(Hello.kind, hello_body(version=version)))
    peer.expect_error(Code.UNSUPPORTED)


@pytest.mark.parametrize("flags", [1, 2, 0x80, 0xFF])
def test_flags_in_hello(room: Server, flags: int) -> None:
    peer = room.connect()
    peer.raw(envelope(Hello.kind, hello_body(flags=flags)))
    peer.expect_error(Code.UNSUPPORTED)


def test_resume_in_hello(room: Server) -> None:
    peer = room.connect()
    peer.raw(envelope(Hello.kind, hello_body(resume=b"x")))
    peer.expect_error(Code.UNSUPPORTED)


def test_a_second_hello(room: Server) -> None:
    peer, junior = room.line(2)
    peer.send(Hello(name="again"))
    peer.expect_error(Code.PROTOCOL)
    junior.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)


# Tokens


def test_no_token_asked_any_taken(room: Server) -> None:
    for token in (b"", b"anything", bytes(range(256)), b"\xff" * 1024):
        room.connect().hello(token=token)


def test_a_token_over_1024_bytes(room: Server) -> None:
    peer = room.connect()
    peer.send(Hello(token=bytes(1025)))
    peer.expect_error(Code.PROTOCOL)


def test_the_right_token(guarded: Server) -> None:
    assert guarded.connect().hello(token=TOKEN).rank == 0


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"wrong",
        TOKEN[:-1],
        TOKEN + b"x",
        TOKEN + b"\0",
        b"\0" + TOKEN,
        TOKEN.upper(),
        b"x" * 1024,
        b"\xff",
    ],
    ids=["empty", "other", "prefix", "longer", "nul behind", "nul before", "case", "1 KiB", "not utf-8"],
)
def test_wrong_tokens(guarded: Server, token: bytes) -> None:
    """The answer is the same each time, no seat is used and nobody is told."""
    witness = guarded.connect()
    witness.hello(token=TOKEN)
    errors = []
    for wrong in (token, b"another"):
        peer = guarded.connect()
        peer.send(Hello(token=wrong))
        errors.append(peer.expect_error(Code.AUTH))
    assert errors[0] == errors[1]
    assert witness.who().total == 1
    assert guarded.connect().hello(token=TOKEN).seq == witness.joined.seq + 1
    assert TOKEN.decode() not in guarded.log()


# Full


def test_a_full_server(serve: Serve) -> None:
    server = serve(2)
    members = server.line(2)
    for _ in range(3):
        late = server.connect()
        late.send(Hello())
        late.expect_error(Code.FULL)
    for rank, member in enumerate(members):
        member.expect_quiet()
        assert member.who().total == 2
        assert member.joined.rank == rank
    members[0].leave()
    members[0].expect_close()
    members[1].expect(Rank, seq=3, rank=0, members=1, cause=Cause.LEFT)
    newcomer = server.join()
    assert (newcomer.joined.rank, newcomer.joined.seq) == (1, 4)


def test_silent_connections_take_no_seat(serve: Serve) -> None:
    server = serve(1)
    for _ in range(5):
        server.connect()
    assert server.join().joined.rank == 0


# Frames behind HELLO


def test_frames_in_the_same_segment_are_read(room: Server) -> None:
    peer = room.connect()
    peer.send(Hello(name="ada"), Command(1), Who(2), Ping(b"3"))
    peer.expect(Welcome, rank=0)
    peer.expect(Refused, id=1, code=Refusal.NO_TARGET)
    (seat,) = peer.expect(Members, id=2, total=1).seats
    assert (seat.rank, seat.ticket, seat.name) == (0, peer.ticket, "ada")
    peer.expect(Pong, opaque=b"3")


def test_frames_behind_a_hello_that_is_not_accepted_are_dropped(guarded: Server) -> None:
    witness = guarded.connect()
    witness.hello(token=TOKEN)
    peer = guarded.connect()
    peer.send(Hello(token=b"no"), Ping(b"x"), Hello(token=TOKEN), Who(1))
    peer.expect_error(Code.AUTH, reset_ok=True)
    assert witness.who().total == 1


def test_frames_behind_a_hello_that_finds_no_seat_are_dropped(serve: Serve) -> None:
    server = serve(1)
    member = server.join()
    peer = server.connect()
    peer.send(Hello(), Ping(b"x"), Command(1))
    peer.expect_error(Code.FULL, reset_ok=True)
    member.expect_quiet()


def test_hello_and_leave_in_one_segment(room: Server) -> None:
    witness = room.join()
    peer = room.connect()
    peer.send(Hello(), Leave())
    peer.expect(Welcome, rank=1)
    peer.expect_close()
    witness.expect_quiet()
    assert room.join().joined.seq == peer.joined.seq + 2  # it came, and it went


def test_hello_and_half_close(room: Server) -> None:
    peer = room.connect()
    peer.send(Hello(), Who(1))
    peer.half_close()
    peer.expect(Welcome, rank=0)
    peer.expect(Members, id=1)
    peer.expect_close()


def test_a_second_hello_in_the_same_segment(room: Server) -> None:
    peer = room.connect()
    peer.raw(encode_all(Hello(), Ping(b"x"), Hello()))
    peer.expect(Welcome)
    peer.expect(Pong, opaque=b"x")
    peer.expect_error(Code.PROTOCOL)


def test_a_hello_that_is_gone_again(room: Server) -> None:
    """A connection that is reset right behind its HELLO does no harm."""
    witness = room.join()
    for _ in range(20):
        peer = room.connect()
        peer.send(Hello())
        peer.reset()
    deadline = time.monotonic() + DEADLINE_S
    while witness.who().total > 1:  # which would fail on any other frame
        assert time.monotonic() < deadline, "the connections that were reset still hold seats"
    witness.expect_quiet()
