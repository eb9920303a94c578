"""A client session fed with arbitrary bytes: it never raises, and its memory is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.codes import DEFAULT_MAX_PAYLOAD, FRAME_OVERHEAD, ErrorCode
from rankmux.core.client.events import Ended, ExecuteReceived
from rankmux.core.client.session import ClientSession
from rankmux.wire import (
    Accepted,
    Command,
    Done,
    ErrorFrame,
    Execute,
    Leave,
    Members,
    Ping,
    Pong,
    Rank,
    Refused,
    Routed,
    Stop,
)

from ...support.client_sessions import WELCOME, feed, joined, violation

U32 = st.integers(0, 0xFFFF_FFFF)


@given(st.binary(max_size=300), st.booleans())
def test_arbitrary_bytes_never_raise(data, member):
    session = joined() if member else ClientSession()
    session.receive_data(data)
    session.receive_data(data)
    session.receive_eof()
    events = session.events()
    assert [isinstance(event, Ended) for event in events].count(True) == 1
    assert isinstance(events[-1], Ended)
    assert events[-1].error is not None


FRAMES = st.one_of(
    st.builds(Execute, U32, U32, st.integers(0, 3), U32, st.binary(max_size=9)),
    st.builds(Rank, U32, U32, U32, st.integers(0, 5)),
    st.builds(Accepted, st.integers(0, 4), U32, U32, U32, U32),
    st.builds(Refused, st.integers(0, 4), st.integers(0, 9), st.text(max_size=5)),
    st.builds(Routed, st.integers(0, 4), U32, U32, st.integers(0, 17), st.binary(max_size=9)),
    st.builds(Done, st.integers(0, 4), *[st.integers(0, 2)] * 6),
    st.builds(Stop, U32),
    st.builds(Members, st.integers(0, 4), U32, U32, st.just(())),
    st.builds(Ping, st.binary(max_size=70)),
    st.builds(Pong, st.binary(max_size=70)),
    st.builds(ErrorFrame, st.integers(0, 20), st.text(max_size=9)),
    st.just(WELCOME),
    st.just(Leave()),
    st.builds(Command, U32, st.integers(0, 4), U32, st.integers(0, 4), U32, st.binary(max_size=5)),
)


@given(st.lists(FRAMES, max_size=20), st.data())
def test_arbitrary_frames_never_raise_and_are_cut_anywhere_alike(frames, data):
    stream = bytearray(b"".join(frame.encode() for frame in frames))
    if stream and data.draw(st.booleans()):
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(stream)))

    def heard(*parts: bytes) -> list[str]:
        session = joined()
        for results in (True, False):
            session.send_command(b"", results=results)
        session.send_who()
        session.send_ping(b"")
        for part in parts:
            session.receive_data(part)
        return [repr(event) for event in session.events()]

    assert heard(bytes(stream)) == heard(bytes(stream[:cut]), bytes(stream[cut:]))


@pytest.mark.parametrize(
    "length", [0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFDA, DEFAULT_MAX_PAYLOAD + 65]
)
@pytest.mark.parametrize("member", [False, True])
def test_a_length_over_the_bound_is_judged_by_its_four_bytes(length, member):
    session = joined() if member else ClientSession()
    session.receive_data(length.to_bytes(4))
    assert violation(session).code == ErrorCode.TOO_BIG


def test_a_length_of_0():
    session = joined()
    session.receive_data(bytes(4))
    assert violation(session).code == ErrorCode.PROTOCOL


def test_a_length_at_the_bound():
    session = joined(max_payload=100)
    frame = Execute(12, 0, 0, 0, bytes(100 + FRAME_OVERHEAD - 18))
    assert len(frame.encode()) - 4 == 100 + FRAME_OVERHEAD
    assert [type(event) for event in feed(session, frame)] == [ExecuteReceived]
    session.receive_data(Execute(13, 0, 0, 0, bytes(100 + FRAME_OVERHEAD - 17)).encode())
    assert violation(session).code == ErrorCode.TOO_BIG


def test_a_server_does_not_choose_how_much_we_hold():
    session = joined(max_payload=0xFFFF_FFFF, max_payload_limit=1000)
    assert session.max_payload == 0xFFFF_FFFF
    session.receive_data((1065).to_bytes(4))
    assert violation(session).code == ErrorCode.TOO_BIG


def test_a_flood_that_must_be_answered_takes_no_memory():
    session = joined(rank=0)
    seq = 100
    for _ in range(2000):
        frames = []
        for _ in range(20):
            seq += 1
            frames.append(Execute(seq, 5, 1, 0, b"").encode())
        session.receive_data(b"".join(frames) + Ping(bytes(64)).encode() * 20)
        session.events()
    assert session.output_size < 300_000
    session.data_to_send()
    assert feed(session, Ping(b"again")) == []
    assert session.data_to_send() == Pong(b"again").encode()


@pytest.mark.parametrize(
    "frame",
    [
        b"\x88" + bytes(16) + b"\xff\xff",
        b"\x88" + bytes(16) + b"\0\1" + bytes(16) + b"\xff",
        b"\x81\1" + bytes(46) + b"\xff",
        b"\x89\0",
        b"\x82" + bytes(16),
        b"\x87" + bytes(27),
        b"\x87" + bytes(29),
        b"\x06" + bytes(65),
        b"\x85" + bytes(6) + b"\xff\xfe",
    ],
)
def test_inner_lengths_and_bodies_that_do_not_fit(frame):
    session = joined()
    session.send_who()
    session.receive_data(len(frame).to_bytes(4) + frame)
    assert violation(session).code == ErrorCode.PROTOCOL


@pytest.mark.parametrize("type_", [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x08, 0x09, 0x0A, 0x80, 0x8E, 0xFF])
def test_types_that_are_not_a_servers(type_):
    session = joined()
    session.receive_data(b"\0\0\0\1" + bytes((type_,)))
    assert violation(session).code == ErrorCode.UNSUPPORTED


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-x\r\n"]
)
def test_a_server_of_another_kind(data):
    session = ClientSession()
    session.receive_data(data)
    violation(session)


def test_frames_in_front_of_a_broken_one_count():
    session = joined()
    session.receive_data(Execute(12, 0, 0, 0, b"x").encode() + bytes(4) + Execute(13, 0, 0, 0, b"y").encode())
    first, last = session.events()
    assert first == ExecuteReceived(12, 0, 2, False, 0, b"x")
    assert isinstance(last, Ended)
