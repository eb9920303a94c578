"""Frames between server and courier: whole, in pieces, and noise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.courier.frames import FrameDecoder, FrameError, Kind, Position, pack_frame, unpack_read

FRAMES = st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=40)), max_size=8)


@given(FRAMES, st.integers(1, 50))
def test_any_chunks_give_the_same_frames(frames, step):
    data = b"".join(pack_frame(kind, body) for kind, body in frames)
    decoder, found = FrameDecoder(), []
    for at in range(0, len(data), step):
        decoder.receive_data(data[at : at + step])
        has_frame, before = decoder.has_frame, len(found)
        found += decoder.frames()
        assert has_frame == (len(found) > before)
    assert found == frames
    assert decoder.frames() == []


def test_one_at_a_time_and_the_rest_is_kept():
    decoder = FrameDecoder()
    decoder.receive_data(
        pack_frame(Kind.READ, 7, 1_790_000_000_000, 9, b"x") + pack_frame(Kind.ALIVE) + b"\1"
    )
    ((kind, body),) = decoder.frames(1)
    assert (kind, unpack_read(body)) == (Kind.READ, (7, 1_790_000_000_000, 9, b"x"))
    assert decoder.frames(0) == []
    assert decoder.frames(1) == [(Kind.ALIVE, b"")]
    assert not decoder.has_frame


@pytest.mark.parametrize("data", [b"\0\0\0\0\x63", b"\xff\xff\xff\xff\x01"])
def test_noise_is_no_frame(data):
    decoder = FrameDecoder()
    decoder.receive_data(data)
    with pytest.raises(FrameError):
        decoder.frames()


def test_a_position_and_what_follows():
    position = Position("2026-01-01T00:00:00.5Z", 1 << 40, 1 << 20, 12, 1_790_000_000_000)
    found, rest = Position.unpack(position.pack() + b"snapshot")
    assert rest == b"snapshot"
    for name in Position.__slots__:
        assert getattr(found, name) == getattr(position, name)
