"""Section 11: the vectors, encoded and decoded, and as one session with a server."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from .frames import (
    NO_RANK,
    RESULTS,
    TIED,
    WANTED,
    WATCH,
    Accepted,
    Baton,
    Cancel,
    Cause,
    Changed,
    Code,
    Command,
    Done,
    Error,
    Execute,
    Frame,
    Hello,
    How,
    Leave,
    MalformedError,
    Members,
    Ping,
    Pong,
    Rank,
    Refusal,
    Refused,
    Result,
    Routed,
    Seat,
    State,
    Status,
    Stop,
    Target,
    Welcome,
    What,
    Who,
    Write,
    Yield,
    Yielded,
    decode,
    encode,
    named,
    resume,
)
from .process import ROOT

if TYPE_CHECKING:
    from .conftest import Serve

VECTORS: dict[str, tuple[Frame, str]] = {
    "HELLO": (Hello(name="ada"), "0000000b0101000361646100000000"),
    "HELLO keep": (
        Hello(1, WATCH, "ada", b"", resume(bytes(range(16)), 60_000, 42)),
        ("00000027010102036164610000001c0000ea60000000000000002a000102030405060708090a0b0c0d0e0f"),
    ),
    "COMMAND all": (
        Command(7, Target.ALL, 0, RESULTS, 5000, b"print"),
        "000000140200000007000000000001000013887072696e74",
    ),
    "COMMAND one": (
        Command(8, Target.ONE, 2, 0, 0, b"debug"),
        "000000140200000008010000000200000000006465627567",
    ),
    "COMMAND set": (
        named(9, [3, 5], b"print", flags=RESULTS | TIED, ttl_ms=5000),
        "00000024020000000904000000020500001388000000000000000300000000000000057072696e74",
    ),
    "CANCEL by a client": (Cancel(7), "000000050400000007"),
    "YIELD": (Yield(10), "00000005090000000a"),
    "BATON by a client": (Write(11, b"v2"), "000000070a0000000b7632"),
    "RESULT": (Result(42, Status.OK, b"done"), "0000000e03000000000000002a00646f6e65"),
    "PING": (Ping(b"hi"), "00000003066869"),
    "LEAVE": (Leave(), "0000000108"),
    "WHO": (Who(9, 0, 100), "0000000d05000000090000000000000064"),
    "WELCOME": (
        Welcome(1, 0x0102030405060708, 3, 11, 2, 3, 10, 65536, 10000),
        (
            "00000030810101020304050607080000000000000003000000000000000b"
            "00000002000000030000000a00010000000027100000"
        ),
    ),
    "WELCOME returned": (
        Welcome(
            1, 0x0102030405060708, 3, 11, 2, 3, 10, 65536, 10000, bytes([How.RETURNED]) + b"\x00\x00\xea\x60"
        ),
        (
            "00000035810101020304050607080000000000000003000000000000000b"
            "00000002000000030000000a00010000000027100005010000ea60"
        ),
    ),
    "WELCOME observer": (
        Welcome(1, 0x0102030405060708, 0, 11, NO_RANK, 3, 10, 65536, 10000),
        (
            "00000030810101020304050607080000000000000000000000000000000b"
            "ffffffff000000030000000a00010000000027100000"
        ),
    ),
    "EXECUTE": (
        Execute(42, 0, WANTED, 5000, b"print"),
        "0000001782000000000000002a0000000001000013887072696e74",
    ),
    "RANK": (Rank(43, 1, 2, Cause.LOST), "0000001283000000000000002b000000010000000202"),
    "ACCEPTED": (
        Accepted(7, 42, 2, 0, 0),
        "000000198400000007000000000000002a000000020000000000000000",
    ),
    "REFUSED": (
        Refused(8, Refusal.NOT_LOWER, "rank 2 is not below you"),
        "0000001e8500000008000272616e6b2032206973206e6f742062656c6f7720796f75",
    ),
    "ROUTED": (
        Routed(7, 3, 2, Status.OK, b"done"),
        "00000016860000000700000000000000030000000200646f6e65",
    ),
    "ROUTED cancelled": (
        Routed(7, 3, 2, Status.CANCELLED),
        "00000012860000000700000000000000030000000205",
    ),
    "DONE": (
        Done(7, ok=1, left=1),
        "0000001d8700000007000000010000000000000000000000000000000100000000",
    ),
    "MEMBERS": (
        Members(9, 43, 1, (Seat(0, 1, 0, State.PRESENT, "ada", "127.0.0.1:40000"),)),
        (
            "000000388800000009000000000000002b000000010001000000000000000000000001"
            "0000000000036164610f3132372e302e302e313a3430303030"
        ),
    ),
    "ERROR": (Error(Code.FULL, "no seat is free"), "000000128900056e6f20736561742069732066726565"),
    "CANCEL by the server": (Stop(42), "000000098a000000000000002a"),
    "YIELDED": (
        Yielded(10, 45, 4, 2, 3),
        "0000001d8b0000000a000000000000002d00000000000000040000000200000003",
    ),
    "BATON by the server": (Baton(46, 1, b"v2"), "000000138c000000000000002e00000000000000017632"),
    "CHANGED": (
        Changed(43, What.LOST, 2, 1, 2, "bob"),
        "0000001e8d000000000000002b030000000000000002000000010000000203626f62",
    ),
}


def octets(name: str) -> bytes:
    return bytes.fromhex(VECTORS[name][1])


@pytest.mark.parametrize("name", VECTORS)
def test_encoding_of_a_vector(name: str) -> None:
    assert encode(VECTORS[name][0]).hex() == VECTORS[name][1]


@pytest.mark.parametrize("name", VECTORS)
def test_decoding_of_a_vector(name: str) -> None:
    assert decode(octets(name)) == VECTORS[name][0]


def test_the_page_has_exactly_these_vectors() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    told = re.findall(r"^\| ([A-Z]+)\b.* \| `([0-9a-f]+)` \|$", page, re.MULTILINE)
    assert sorted(told) == sorted((name.split()[0], wire) for name, (_, wire) in VECTORS.items())


@pytest.mark.parametrize("name", VECTORS)
def test_we_would_notice_a_vector_cut_short(name: str) -> None:
    wire = octets(name)
    fixed = {"COMMAND all": 19, "COMMAND one": 19, "RESULT": 14, "PING": 5, "EXECUTE": 22, "REFUSED": 11}
    fixed |= {"ROUTED": 22, "ERROR": 7, "COMMAND set": 19, "BATON by a client": 9, "BATON by the server": 21}
    for cut in range(5, fixed.get(name, len(wire))):
        with pytest.raises(MalformedError):
            decode((cut - 4).to_bytes(4, "big") + wire[4:cut])


def test_the_vectors_form_a_session(serve: Serve) -> None:
    """Every byte is as specified except the instance, the tickets, an address and the texts."""
    server = serve(10)
    ada = server.connect()
    ada.raw(octets("HELLO"))
    ada.expect(Welcome, seq=1, rank=0, members=1)
    bob = server.join("bob")
    for number in range(8):  # these take seq 3 to 10
        ada.command(number, Target.NEXT, quiet=True)
    ada.expect_quiet()
    assert len(bob.settle()) == 8

    cleo = server.connect()
    cleo.raw(octets("HELLO"))
    welcome = cleo.expect(Welcome)
    told = decode(octets("WELCOME"))
    assert isinstance(told, Welcome)
    assert cleo.wire == encode(replace(told, instance=ada.joined.instance, ticket=welcome.ticket))

    for number in range(30):  # seq 12 to 41
        ada.command(number, Target.NEXT, quiet=True)
    ada.expect_quiet()
    assert len(bob.settle()) == 30
    ada.raw(octets("COMMAND all"))
    ada.expect(Accepted)
    assert ada.wire == octets("ACCEPTED")
    for executor in (bob, cleo):
        executor.expect(Execute)
        assert executor.wire == octets("EXECUTE")

    cleo.raw(octets("COMMAND one"))  # from rank 2 to rank 2
    refused = cleo.expect(Refused, id=8, code=Refusal.NOT_LOWER)
    assert refused.text

    cleo.raw(octets("RESULT"))
    ada.expect(Routed)
    told_routed = decode(octets("ROUTED"))
    assert isinstance(told_routed, Routed)
    assert ada.wire == encode(replace(told_routed, ticket=cleo.ticket))

    bob.reset()
    cleo.expect(Rank)
    assert cleo.wire == octets("RANK")
    ada.expect(Routed, id=7, ticket=bob.ticket, rank=1, status=Status.LEFT)
    ada.expect(Done)
    assert ada.wire == octets("DONE")

    ada.raw(octets("WHO"))
    ada.expect(Members)
    seats = (
        Seat(0, ada.ticket, 0, State.PRESENT, "ada", ada.address),
        Seat(1, cleo.ticket, 0, State.PRESENT, "ada", cleo.address),
    )
    assert ada.wire == encode(Members(9, 43, 2, seats))

    ada.raw(octets("PING"))
    ada.expect(Pong)
    assert ada.wire.hex() == "00000003076869"
    ada.raw(octets("LEAVE"))
    ada.expect_close()
    cleo.expect(Rank, seq=44, rank=0, members=1, cause=Cause.LEFT)


def test_the_vector_of_a_full_server(serve: Serve) -> None:
    server = serve(1)
    server.join()
    late = server.connect()
    late.raw(octets("HELLO"))
    error = late.expect_error(Code.FULL)
    assert error.text
