"""Section 2: how a stream is split into frames, independently of segments, and the bound on a frame's length."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

import pytest

from .frames import (
    HEADROOM,
    MAX_PAYLOAD,
    Accepted,
    Cause,
    Code,
    Command,
    Done,
    Execute,
    Hello,
    Members,
    Ping,
    Pong,
    Rank,
    Refusal,
    Refused,
    Result,
    Routed,
    Status,
    Target,
    Welcome,
    Who,
    encode,
    encode_all,
)

if TYPE_CHECKING:
    from .conftest import Serve
    from .peer import Peer
    from .process import Server

BOUND = MAX_PAYLOAD + HEADROOM
OVER = [BOUND + 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFDA, 0xFFFF_FFFF]

HELLO = encode(Hello(name="ada"))
STREAM = encode_all(
    Command(1, Target.ALL, payload=b"one"),
    Ping(b"hi"),
    Command(2, Target.ONE, 0),
    Result(0),
    Who(3, 0, 1),
    Ping(),
    Command(4, Target.NEXT),
)


def expect_stream(sender: Peer, junior: Peer) -> None:
    """Exactly the answers to STREAM, each kind in order."""
    seen = sender.settle()
    assert [frame.id for frame in seen if isinstance(frame, Accepted)] == [1, 4]
    assert [frame.id for frame in seen if isinstance(frame, Refused)] == [2]
    assert [frame.id for frame in seen if isinstance(frame, Members)] == [3]
    assert [frame.opaque for frame in seen if isinstance(frame, Pong)] == [b"hi", b""]
    assert len(seen) == 6
    received = junior.settle()
    assert [frame.payload for frame in received if isinstance(frame, Execute)] == [b"one", b""]
    assert len(received) == 2


# Segmentation


def test_several_frames_in_one_segment(room: Server) -> None:
    _, sender, junior = room.line(3)
    sender.raw(STREAM)
    expect_stream(sender, junior)


def test_a_stream_cut_in_two_at_every_place(room: Server) -> None:
    clock, sender, junior = room.line(3)
    for cut in range(1, len(STREAM)):
        sender.raw(STREAM[:cut])
        clock.ping()  # once this is answered, the first piece has been read
        sender.raw(STREAM[cut:])
        expect_stream(sender, junior)


def test_a_stream_byte_by_byte(room: Server) -> None:
    clock, sender, junior = room.line(3)
    for octet in STREAM:
        sender.raw(bytes([octet]))
        clock.ping()
    expect_stream(sender, junior)


def test_a_handshake_cut_in_two_at_every_place(room: Server) -> None:
    clock = room.join()
    stream = HELLO + encode(Ping(b"behind"))
    for cut in range(1, len(stream)):
        peer = room.connect()
        peer.raw(stream[:cut])
        clock.ping()
        peer.raw(stream[cut:])
        peer.expect(Welcome, rank=1)
        peer.expect(Pong, opaque=b"behind")
        peer.leave()
        peer.expect_close()


def test_a_handshake_byte_by_byte(room: Server) -> None:
    clock = room.join()
    peer = room.connect()
    for octet in HELLO:
        peer.raw(bytes([octet]))
        clock.ping()
    peer.expect(Welcome, rank=1)


def test_two_streams_cut_and_mixed(room: Server) -> None:
    """Partial frames of different connections are independent."""
    _, first, second, junior = room.line(4)
    for one, other in zip(STREAM, STREAM, strict=True):
        first.raw(bytes([one]))
        second.raw(bytes([other]))
    for sender in (first, second):
        seen = [frame for frame in sender.settle() if not isinstance(frame, Execute)]
        assert len(seen) == 6
    assert len([frame for frame in junior.settle() if isinstance(frame, Execute)]) == 3


def test_ten_thousand_small_frames_at_once(room: Server) -> None:
    sender, junior = room.line(2)
    count = 10_000
    sender.raw(b"".join(encode(Command(n, Target.NEXT, 0, 2, 0, b"%d" % n)) for n in range(count)))
    seen = [junior.expect(Execute) for _ in range(count)]
    assert [frame.payload for frame in seen] == [b"%d" % n for n in range(count)]
    assert [frame.seq for frame in seen] == list(range(seen[0].seq, seen[0].seq + count))
    sender.expect_quiet()
    junior.expect_quiet()


# Payloads


@pytest.mark.parametrize("size", [0, 1, 255, 256, 4096, MAX_PAYLOAD - 1, MAX_PAYLOAD])
def test_a_payload_arrives_as_it_was_sent(room: Server, size: int) -> None:
    sender, junior = room.line(2)
    payload = (bytes(range(256)) * (size // 256 + 1))[:size]
    sender.command(1, payload=payload, results=True)
    execute = junior.expect_execute(0, payload)
    sender.expect(Accepted, id=1)
    junior.result(execute.seq, payload=payload[::-1])
    sender.expect(Routed, id=1, status=Status.OK, payload=payload[::-1])
    sender.expect(Done, id=1, ok=1)


def test_payloads_that_look_like_frames(room: Server) -> None:
    sender, junior = room.line(2)
    sender.command(1, payload=STREAM + HELLO)
    junior.expect_execute(0, STREAM + HELLO)
    junior.expect_quiet()


# The bound


def test_the_longest_frame_is_read(room: Server) -> None:
    """It cannot be dispatched, but it breaks no rule of framing."""
    sender, junior = room.line(2)
    frame = encode(Command(1, payload=bytes(BOUND - 15)))
    assert struct.unpack_from(">I", frame) == (BOUND,)
    sender.raw(frame)
    sender.expect(Refused, id=1, code=Refusal.TOO_BIG)
    junior.expect_quiet()
    sender.expect_quiet()


@pytest.mark.parametrize("length", OVER)
def test_a_length_over_the_bound_is_judged_by_its_four_bytes(room: Server, length: int) -> None:
    sender, junior = room.line(2)
    sender.raw(struct.pack(">I", length))
    sender.expect_error(Code.TOO_BIG)
    junior.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)


def test_a_length_of_zero_is_judged_by_its_four_bytes(room: Server) -> None:
    sender, junior = room.line(2)
    sender.raw(bytes(4))
    sender.expect_error(Code.PROTOCOL)
    junior.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)


@pytest.mark.parametrize("length", [0, *OVER])
def test_lengths_are_judged_before_hello_too(room: Server, length: int) -> None:
    peer = room.connect()
    peer.raw(struct.pack(">I", length))
    peer.expect_error(Code.TOO_BIG if length else Code.PROTOCOL)


def test_whole_frames_before_a_bad_length_take_effect(room: Server) -> None:
    sender, junior = room.line(2)
    sender.raw(encode(Command(1, payload=b"whole")) + struct.pack(">I", BOUND + 1))
    sender.expect(Accepted, id=1)
    sender.expect_error(Code.TOO_BIG)
    junior.expect_execute(0, b"whole")
    junior.expect(Rank, rank=0, cause=Cause.EVICTED)


def test_the_bound_follows_max_payload(serve: Serve) -> None:
    server = serve(3, "--max-payload", "1024")
    sender, junior = server.line(2)
    assert sender.joined.max_payload == 1024
    sender.command(1, payload=bytes(1024))
    sender.expect(Accepted, id=1)
    junior.expect_execute(0, bytes(1024))
    sender.command(2, payload=bytes(1025))
    sender.expect(Refused, id=2, code=Refusal.TOO_BIG)
    sender.raw(encode(Command(3, payload=bytes(1024 + HEADROOM - 15))))
    sender.expect(Refused, id=3, code=Refusal.TOO_BIG)
    sender.raw(struct.pack(">I", 1024 + HEADROOM + 1))
    sender.expect_error(Code.TOO_BIG)


# Input that is not a stream of frames


@pytest.mark.parametrize(
    "opening",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        bytes.fromhex("1603010200010001fc0303") + bytes(32),  # a TLS ClientHello
        b"\xff" * 64,
    ],
    ids=["http", "tls", "ones"],
)
def test_other_protocols_are_refused(room: Server, opening: bytes) -> None:
    """Their first four bytes are a length over the bound."""
    witness = room.join()
    peer = room.connect()
    peer.raw(opening)
    peer.expect_error(Code.TOO_BIG, reset_ok=True)
    witness.expect_quiet()


def test_input_after_a_broken_frame_is_dropped(room: Server) -> None:
    sender, junior = room.line(2)
    sender.raw(bytes(4) + encode(Command(1, payload=b"late")))
    sender.expect_error(Code.PROTOCOL, reset_ok=True)
    junior.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)
    junior.expect_quiet()


# Unfinished frames


def test_an_unfinished_frame_before_the_end_is_dropped(room: Server) -> None:
    frame = encode(Command(2, payload=b"partial"))
    for cut in range(1, len(frame)):
        sender, junior = room.line(2)
        sender.raw(encode(Command(1, payload=b"whole")) + frame[:cut])
        sender.half_close()
        junior.expect_execute(0, b"whole")
        junior.expect(Rank, rank=0, members=1, cause=Cause.LOST)
        junior.expect_quiet()
        room.vacate()


def test_a_stalled_frame_ends_the_connection(serve: Serve) -> None:
    server = serve(3, "--frame-timeout-s", "1")
    sender, junior = server.line(2)
    began = time.monotonic()
    sender.raw(struct.pack(">IB", MAX_PAYLOAD, Command.kind) + bytes(10))
    sender.expect_error(Code.TIMEOUT)
    assert 0.9 < time.monotonic() - began < 3.0
    junior.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)


def test_dripping_does_not_extend_a_frame_s_time(serve: Serve) -> None:
    server = serve(3, "--frame-timeout-s", "1")
    dripper = server.join()
    dripper.raw(struct.pack(">IB", 1000, Command.kind))
    assert 0.9 < dripper.drip_until(Code.TIMEOUT) < 3.0
