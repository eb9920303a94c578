"""Rows H: a connection before its HELLO holds no seat, uses little memory and is soon closed."""

from __future__ import annotations

import struct
import time

import pytest

from ..protocol.frames import Code, Command, Hello, Ping, Welcome, encode
from .conftest import Rigging, anywhere, everywhere
from .test_bad_frames import _read_out
from .witness import Witness

TOKEN = b"a token for tests"


@everywhere
def test_h1_h2_no_bytes_or_single_bytes(rig: Rigging) -> None:
    """It is closed after the handshake timeout, whether it sends or not; no seat, no rank, no RANK for others."""
    server = rig(4, "--handshake-timeout-s", "1", "--tls-handshake-timeout-s", "1")
    witness = Witness(server.join(), [server.join()])
    silent = [server.connect() for _ in range(10)]
    dripping = server.connect()
    began = time.monotonic()
    dripping.raw(encode(Hello(token=bytes(1000)))[:10])
    took = dripping.drip_until(Code.TIMEOUT)
    assert 0.8 < took < 2.0
    for peer in silent:
        peer.expect_error(Code.TIMEOUT)
    assert time.monotonic() - began < 2.5
    witness.finish()
    assert not any(witness.ranks.values())
    server.finish_keeping_the_log()
    assert server.closes()["handshake_timeout"] == 11


@anywhere
def test_h3_wrong_tokens(rig: Rigging, tmp_path) -> None:
    """The same AUTH each time, whatever the fault; no token in the log."""
    path = tmp_path / "token"
    path.write_bytes(TOKEN + b"\n")
    path.chmod(0o600)
    server = rig(4, "--token-file", str(path), "--log-level", "debug", token=TOKEN)
    witness = Witness(server.join(), [server.join()])
    wrong = [
        b"",
        b"other",
        TOKEN[:-1],
        TOKEN + b"x",
        TOKEN + b"\0",
        b"\0" + TOKEN,
        TOKEN + b"\n",
        b"Q" * 1024,
    ]
    seen = set()
    for token in wrong * 3:
        peer = server.connect()
        peer.send(Hello(token=token))
        peer.expect_error(Code.AUTH)
        seen.add(peer.wire)
    assert len(seen) == 1
    witness.finish()
    server.finish_keeping_the_log()
    assert server.closes()["auth"] == len(wrong) * 3
    for text in (TOKEN.decode(), "QQQQ", "other"):
        assert text not in server.log()


@everywhere
def test_h4_before_hello_and_after_it(rig: Rigging) -> None:
    server = rig(4)
    member = server.join()
    early = server.connect()
    early.send(Command(1, payload=b"too early"), Hello())
    early.expect_error(Code.PROTOCOL, reset_ok=True)
    member.expect_quiet()
    junior = server.connect()
    junior.send(Hello(), Ping(b"behind"))
    junior.expect(Welcome)
    assert junior.recv().kind == 0x07


@anywhere
@pytest.mark.parametrize(
    "octets", [struct.pack(">I", 4097) + b"\x01", struct.pack(">I", 4096) + b"\x01" + bytes(4095)]
)
def test_h5_too_much_before_hello(rig: Rigging, octets: bytes) -> None:
    """4 KiB + 1: refused after the four bytes of the length. 4 KiB: read, and refused for its version."""
    server = rig(4)
    peak = server.peak()
    for _ in range(30):
        peer = server.connect()
        peer.raw(octets)
        peer.expect_error(Code.TOO_BIG if len(octets) == 5 else Code.UNSUPPORTED, reset_ok=True)
    assert server.peak() - peak < 1 << 20


@anywhere
def test_h6_pings_before_hello_and_answers_never_read(rig: Rigging) -> None:
    """The server answers nothing before HELLO, so no output accumulates for a peer that does not read."""
    server = rig(4)
    member = server.join()
    peak = server.peak()
    flooders = [server.connect(receive_buffer=4096) for _ in range(30)]
    for peer in flooders:
        try:
            peer.raw(encode(Ping(bytes(64))) * 500)
        except ConnectionError:
            continue
    for peer in flooders:
        _read_out(peer)
    tls = (
        0 if server.ground.transport == "plain" else len(flooders) * (64 << 10)
    )  # the memory of OpenSSL for each
    assert server.peak() - peak < (1 << 20) + tls
    member.expect_quiet()
    server.finish_keeping_the_log()
    assert server.closes()["protocol"] == 30


@anywhere
def test_h7_a_second_hello(rig: Rigging) -> None:
    """It ends the connection; its juniors move up, with the cause EVICTED."""
    server = rig(6)
    senior, twice, junior = server.line(3)
    twice.send(Command(1, payload=b"before"), Hello(), Command(2, payload=b"behind"))
    junior.expect_execute(1, b"before")
    frame = junior.recv()
    assert (frame.rank, frame.members, frame.cause) == (1, 2, 3)  # type: ignore[attr-defined]
    junior.expect_quiet()
    senior.expect_quiet()


def test_the_limits_on_connections_without_hello(rig: Rigging) -> None:
    """At the limit all wait; the newest one over it is refused, and the others and the members are not affected."""
    server = rig(4, "--greeting-max", "12", "--greeting-max-per-address", "8", "--handshake-timeout-s", "30")
    member = server.join()
    here = [server.connect() for _ in range(8)]
    member.settle()
    late = server.connect()
    late.expect_error(Code.RESOURCE)
    for peer in here[:2]:
        peer.hello()  # one fewer waits now
    also = [server.connect(), server.connect()]
    others = [server.plain(source="127.0.0.2") for _ in range(4)]
    over = server.plain(source="127.0.0.3")
    over.settimeout(5)
    assert over.recv(100)[4] == 0x89  # in all
    for sock in [*others, over]:
        sock.close()
    also[0].expect_nothing()
    for peer in [*here[2:], *also]:
        peer.close()  # or the connection of the final checks would exceed the limit for this address
    member.settle()
    server.finish_keeping_the_log()
    assert server.closes()["resource"] == 2
