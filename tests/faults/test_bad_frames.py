"""Rows F: frames that trickle in, stall, lie about their length or are invalid. (Framing itself: tests/protocol.)"""

from __future__ import annotations

import struct
import threading
import time

import pytest

from ..protocol.frames import QUIET, Code, Command, Execute, Hello, Ping, Rank, Result, encode, envelope
from ..protocol.peer import Peer
from .conftest import Rigging, anywhere, everywhere
from .rig import Rig
from .test_slow_peers import numbers
from .witness import Witness, expect_end, figure

LENGTHS = (65_601, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFDA)
BAD = [
    (bytes(4), Code.PROTOCOL),
    (envelope(0x02, bytes(13)), Code.PROTOCOL),  # F7: shorter than the fixed part
    (envelope(0x01, b"\x01\x00\x09ada"), Code.PROTOCOL),
    (envelope(0x05, bytes(13)), Code.PROTOCOL),
    (envelope(0x06, bytes(65)), Code.PROTOCOL),
    (encode(Command(1, 9)), Code.PROTOCOL),  # F8: unknown target, flag, status, type
    (encode(Command(1, 0, 0, 4)), Code.PROTOCOL),
    (encode(Result(1, 7)), Code.PROTOCOL),
    (envelope(0x04), Code.PROTOCOL),
    (envelope(0x0B), Code.UNSUPPORTED),
    (envelope(0x81, bytes(10)), Code.UNSUPPORTED),
    (envelope(0xFF), Code.UNSUPPORTED),
    (b"GET / HTTP/1.1\r\n\r\n", Code.TOO_BIG),  # F9
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), Code.TOO_BIG),
    (bytes.fromhex("deadbeef") * 10, Code.TOO_BIG),
    *((struct.pack(">I", length), Code.TOO_BIG) for length in LENGTHS),  # F4, F5
]
BAD_HELLOS = [
    (
        envelope(0x01, b"\x01\x00\x09ada\x00\x00\x00\x00"),
        Code.PROTOCOL,
    ),  # F7: name, token, resume past the end
    (envelope(0x01, b"\x01\x00\x00\x00\x05abc\x00\x00"), Code.PROTOCOL),
    (envelope(0x01, b"\x01\x00\x00\x00\x00\xff\xff"), Code.PROTOCOL),
    (envelope(0x01, b"\x02\x00\x00\x00\x00\x00\x00"), Code.UNSUPPORTED),  # F8: version, flags
    (envelope(0x01, b"\x01\x80\x00\x00\x00\x00\x00"), Code.PROTOCOL),
    (bytes(4), Code.PROTOCOL),
    (b"\xff\xff\xff\xff", Code.TOO_BIG),
]


@everywhere
def test_f1_byte_by_byte(rig: Rigging) -> None:
    server = rig(4)
    sender, junior = server.join(), server.join()
    payload = bytes(range(200))
    for octet in encode(Command(1, 0, 0, 0, 0, payload)):
        sender.raw(bytes([octet]))
    junior.expect_execute(0, payload)
    assert len(sender.settle()) == 1


def test_f1_the_cpu_is_linear_in_the_bytes(rig: Rigging) -> None:
    """After 12 MiB of one frame, a byte costs no more than at its start."""
    server = rig(4, "--max-payload", str(16 << 20), "--frame-timeout-s", "60")
    sender, junior = server.join(), server.join()
    frame = encode(Command(1, 0, 0, QUIET, 0, bytes(12 << 20)))
    sender.raw(frame[:-400])
    time.sleep(0.2)  # meanwhile the server reads the rest
    before = server.cpu()
    for octet in frame[-400:-1]:
        sender.raw(bytes([octet]))
        time.sleep(0.000_2)
    spent = server.cpu() - before
    assert spent < 0.15, f"{spent / 399 * 1e6:.0f} us a byte"
    figure("F1", "CPU a byte that drips in behind 12 MiB", f"{spent / 399 * 1e6:.0f} us")
    sender.raw(frame[-1:])
    assert len(junior.expect(Execute, 10).payload) == 12 << 20


@everywhere
def test_f2_ten_thousand_small_frames_in_one_piece(rig: Rigging) -> None:
    """All are executed in order, and other members are hardly delayed."""
    server = rig(8)
    flooder, target = server.join(), server.join()
    witness = Witness(server.join(), [server.join(), server.join()])
    octets = b"".join(encode(Command(n, 1, 1, QUIET, 0, n.to_bytes(4, "big"))) for n in range(10_000))
    for _ in range(3):
        flooder.sock.settimeout(20)
        sending = threading.Thread(target=flooder.sock.sendall, args=(octets,))
        sending.start()
        assert numbers(target, 10_000) == list(range(10_000))
        sending.join(10)
    witness.finish()
    assert witness.keeps(0.5), witness.ms()
    figure("F2", f"p99 of the others ({server.ground})", f"{witness.p99() * 1000:.0f} ms")


@anywhere
def test_f3_to_f9_each_under_its_reason_and_no_memory(rig: Rigging) -> None:
    """Each frame is answered at once, with its code; no memory is allocated for an announced size."""
    server = rig(64)
    witness = Witness(server.join(), [server.join(), server.join()])
    peak = server.peak()
    expected = dict.fromkeys(("protocol", "too_big", "unsupported"), 0)
    slowest = 0.0
    for octets, code in BAD * 3:
        peer = server.join()
        began = time.monotonic()
        peer.raw(octets)
        expect_end(peer, code)
        slowest = max(slowest, time.monotonic() - began)
        expected[code.name.lower()] += 1
    for octets, code in BAD_HELLOS * 3:
        peer = server.connect()
        peer.raw(octets)
        peer.expect_error(code, reset_ok=True)
        expected[code.name.lower()] += 1
    assert slowest < 0.5
    assert server.peak() - peak < 2 << 20
    witness.finish()
    assert not any(witness.ranks.values())
    server.verify()
    server.finish_keeping_the_log()
    assert {name: count for name, count in server.closes().items() if name in expected} == expected


@anywhere
def test_f4_a_frame_at_the_bound(rig: Rigging) -> None:
    """A length of 65,600 is read (and REFUSED because of the payload alone), 65,601 is not."""
    server = rig(4)
    sender, junior = server.join(), server.join()
    largest = Command(1, 0, 0, 0, 0, bytes(65_536))
    sender.send(largest)
    assert junior.expect(Execute).payload == largest.payload
    sender.raw(encode(Command(2, 0, 0, 0, 0, bytes(65_600 - 15))))
    assert [type(frame).__name__ for frame in sender.settle()] == ["Accepted", "Refused"]
    sender.raw(struct.pack(">I", 65_601))
    sender.expect_error(Code.TOO_BIG)


@anywhere
def test_f6_announced_and_stalled(rig: Rigging) -> None:
    """60 members announce 16 MiB each and send 10 bytes: only those bytes are held, until the frames time out."""
    server = rig(80, "--max-payload", str(16 << 20), "--frame-timeout-s", "1")
    witness = Witness(server.join(), [server.join()])
    before = server.rss()
    stalled = server.line(60)
    for peer in stalled:
        peer.raw(struct.pack(">IB", 16 << 20, 0x02) + bytes(5))
    began = time.monotonic()
    time.sleep(0.3)
    held = server.rss() - before
    assert held < 3 << 20
    figure("F6", "held for 60 x 16 MiB that were announced", f"{held >> 10} KiB")
    for peer in stalled:
        expect_end(peer, Code.TIMEOUT)
    assert 0.9 < time.monotonic() - began < 2.5
    witness.finish()


@everywhere
@pytest.mark.parametrize("how", ["end", "reset"])
def test_f10_an_end_inside_a_frame(rig: Rigging, how: str) -> None:
    server = rig(6)
    senior, sender, junior = server.join(), server.join(), server.join()
    whole = b"".join(encode(Command(n, 0, 0, QUIET, 0, b"%d" % n)) for n in range(20))
    cut = encode(Command(99, 0, 0, QUIET, 0, b"cut"))[:-1]
    if how == "end":
        sender.raw(whole + cut)
        sender.half_close()
    elif server.ground.transport == "plain":
        with server.one_turn():
            sender.raw(whole + cut)
            sender.reset()
    else:
        sender.raw(whole + cut)
        junior.expect_execute(1, b"0")
        sender.reset()
    first = 0 if how == "end" or server.ground.transport == "plain" else 1
    for n in range(first, 20):
        junior.expect_execute(1, b"%d" % n)
    junior.expect(Rank, rank=1, members=2)
    senior.expect_quiet()


@anywhere
def test_random_bytes_from_many(rig: Rigging) -> None:
    """F9 at random: members that send valid frames, then noise."""
    import random

    draw = random.Random(20)
    server = rig(64)
    witness = Witness(server.join(), [server.join(), server.join()])
    noisy = server.line(30)
    for peer in noisy:
        peer.raw(encode(Ping(b"1")) + draw.randbytes(draw.randrange(1, 4000)))
        peer.half_close()
    for peer in noisy:
        _read_out(peer)
    strangers = [server.connect() for _ in range(30)]
    for peer in strangers:
        peer.raw(draw.choice((b"", encode(Hello()))) + draw.randbytes(draw.randrange(1, 400)))
        peer.half_close()
    for peer in strangers:
        _read_out(peer)
    witness.finish()


def _read_out(peer: Peer) -> None:
    peer.sock.settimeout(5)
    try:
        while peer.sock.recv(65_536):
            pass
    except ConnectionResetError:
        pass


def test_finish_notices(rig: Rigging, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rig detects a descriptor that stays open, and a member that stays in the room."""
    server = rig(4)
    assert isinstance(server, Rig)
    monkeypatch.setattr("tests.faults.rig.BACK_S", 0.2)  # here it never returns to the initial state
    server.descriptors_before -= 1
    with pytest.raises(AssertionError, match="U4"):
        server.verify()
    server.descriptors_before += 1
