"""A batch as bytes: decoding restores the batch, on both twins; damage is detected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.errors import SnapshotError
from rankmux.wire import Command, Ping, Result

from ...support.twins import TWINS

tickets = st.integers(1, 5)
commands = st.builds(
    Command,
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 2, 3]),
    st.just(0),
    st.integers(0, 3),
    st.integers(0, 999),
    st.binary(max_size=9),
)
results = st.builds(Result, st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2, 16]), st.binary(max_size=9))


@given(st.lists(st.tuples(tickets, commands | results), max_size=12))
def test_round_trip(entries: list[tuple[int, Command | Result]]) -> None:
    encoded = []
    for twin in TWINS:
        batch = twin.Batch(9)
        for ticket, frame in entries:
            octets = frame.encode()
            assert batch.feed(ticket, octets) == (len(octets), [])
        encoded.append(batch.encode())
        for other in TWINS:
            copy = other.Batch(9)
            copy.decode(encoded[-1])
            assert copy.entries() == batch.entries()
    assert all(one == encoded[0] for one in encoded)


def test_an_empty_batch_is_no_bytes(framing):
    batch = framing.Batch(9)
    assert batch.encode() == b""
    batch.decode(b"")
    assert len(batch) == 0


@pytest.mark.parametrize(
    "frames",
    [Ping(b"").encode(), bytes(4), Command(1, 0, 0, 0, 0, b"x").encode()[:-1], Result(1, 9, b"").encode()],
)
def test_a_run_of_something_else(framing, frames):
    data = (7).to_bytes(8) + len(frames).to_bytes(4) + frames
    with pytest.raises(SnapshotError):
        framing.Batch(9).decode(data)


def test_every_cut_is_found(framing):
    batch = framing.Batch(9)
    for ticket in (3, 4):
        batch.feed(ticket, Command(1, 0, 0, 0, 0, b"x").encode())
    data = batch.encode()
    whole = len(data) // 2
    for size in range(1, len(data)):
        copy = framing.Batch(9)
        if size == whole:
            copy.decode(data[:size])
            assert len(copy) == 1
        else:
            with pytest.raises(SnapshotError):
                copy.decode(data[:size])
