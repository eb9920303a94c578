"""The bytes of the control protocol."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.cli.seat.protocol import HEADER_MAX_BYTES, ControlError, FrameReader, encoded

HEADERS = st.dictionaries(
    st.text(max_size=8).filter(lambda key: key != "size"), st.integers() | st.text(max_size=20), max_size=4
)


@given(st.lists(st.tuples(HEADERS, st.binary(max_size=50)), max_size=5), st.lists(st.integers(1, 40)))
def test_any_messages_in_any_chunks(frames, sizes):
    stream = b"".join(encoded(header, payload) for header, payload in frames)
    reader, got = FrameReader(50), []
    while stream:
        size = sizes.pop() if sizes else len(stream)
        got += reader.receive_data(stream[:size])
        stream = stream[size:]
    assert got == [
        ({**header, "size": len(payload)} if payload else header, payload) for header, payload in frames
    ]


def test_bounds():
    reader = FrameReader(10)
    assert list(reader.receive_data(b'{"size":10}\n0123456789')) == [({"size": 10}, b"0123456789")]
    for octets in (
        b'{"size":11}\n',
        b'{"size":-1}\n',
        b'{"size":true}\n',
        b"1\n",
        b"\xff\n",
        b"\n",
        b" " * HEADER_MAX_BYTES,
    ):
        with pytest.raises(ControlError):
            list(FrameReader(10).receive_data(octets))
