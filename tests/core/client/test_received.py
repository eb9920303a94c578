"""What a handler returns or raises, as a result."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.codes import Status, Target
from rankmux.core.client.arguments import payload_of, target_of, token_of, ttl_ms_of
from rankmux.core.client.received import Rejected, pieces, reject, result_of, status_of
from rankmux.errors import ArgumentError


@given(st.binary(max_size=50), st.integers(1, 20))
def test_pieces_make_the_whole(payload, limit):
    cut = list(pieces(payload, limit))
    assert b"".join(piece for piece, _ in cut) == payload
    assert [last for _, last in cut] == [False] * (len(cut) - 1) + [True]
    assert all(len(piece) == limit for piece, _ in cut[:-1])
    assert len(cut[-1][0]) <= limit
    assert cut[-1][0] or not payload


def test_results():
    assert [result_of(value) for value in (None, "é", b"b", bytearray(b"c"), memoryview(b"d"))] == [
        b"",
        "é".encode(),
        b"b",
        b"c",
        b"d",
    ]
    with pytest.raises(TypeError, match="dict"):
        result_of({})


def test_failures():
    assert status_of(ValueError("no")) == (Status.FAILED, b"ValueError: no")
    assert status_of(ValueError()) == (Status.FAILED, b"ValueError")
    assert status_of(ValueError("\ud800")) == (Status.FAILED, b"ValueError: ?")
    with pytest.raises(Rejected) as caught:
        reject(None)
    assert status_of(caught.value) == (Status.REJECTED, b"this client executes nothing")


def test_arguments():
    assert target_of("next") == (Target.NEXT, 0)
    assert target_of(5) == (Target.ONE, 5)
    assert payload_of("é") == payload_of("é".encode()) == payload_of(memoryview("é".encode()))
    with pytest.raises(ArgumentError):
        payload_of(5)
    assert (ttl_ms_of(None), ttl_ms_of(0.0001), ttl_ms_of(1.5)) == (0, 1, 1500)
    assert (token_of(None), token_of("é"), token_of(lambda: b"x")) == (b"", "é".encode(), b"x")
    with pytest.raises(ArgumentError):
        token_of(lambda: 5)
