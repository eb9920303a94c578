"""The result of a received command: from the return value or the exception of its handler."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.codes import Status
from rankmux.core.client.received import Rejected, pieces, reject, result_of, status_of


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
