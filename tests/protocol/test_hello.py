"""Section 3, point 1: HELLO with its name, token and other fields, valid and invalid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import OBSERVE, WATCH, Code, Hello, Ping, Who, envelope

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Serve
    from .process import Server

TOKEN = b"correct horse battery staple"


@pytest.fixture
def guarded(serve: Serve, tmp_path: Path) -> Server:
    """A server with three seats that requires TOKEN."""
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


@pytest.mark.parametrize("flags", [4, 8, 0x80, 0xFC, 0xFF, OBSERVE | 4, WATCH | 0x80])
def test_flags_that_are_not_known(room: Server, flags: int) -> None:
    witness = room.join()
    peer = room.connect()
    peer.raw(envelope(Hello.kind, hello_body(flags=flags)))
    peer.expect_error(Code.PROTOCOL)
    assert witness.who().total == 1


@pytest.mark.parametrize("size", [1, 4, 11, 12, 13, 20, 27, 45, 64, 1000])
def test_a_resume_block_of_a_wrong_length(room: Server, size: int) -> None:
    """Section 3: empty, or 12 bytes and a secret of 16 to 32."""
    witness = room.join()
    peer = room.connect()
    peer.raw(envelope(Hello.kind, hello_body(resume=bytes(size))))
    peer.expect_error(Code.PROTOCOL)
    assert witness.who().total == 1


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
    """The answer is the same each time, no seat is used, and no member is informed."""
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


def test_frames_after_a_hello_that_is_not_accepted_are_dropped(guarded: Server) -> None:
    witness = guarded.connect()
    witness.hello(token=TOKEN)
    peer = guarded.connect()
    peer.send(Hello(token=b"no"), Ping(b"x"), Hello(token=TOKEN), Who(1))
    peer.expect_error(Code.AUTH, reset_ok=True)
    assert witness.who().total == 1
