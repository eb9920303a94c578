"""Entries as bytes: what was packed is unpacked, damage is found, and errors say what to do."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.core.cluster.entries import (
    ENTRY_OVERHEAD,
    Down,
    Entry,
    Genesis,
    Kind,
    Rules,
    Up,
    pack_version,
    unpack,
    unpack_version,
)
from rankmux.errors import LogBroken

U64 = st.integers(0, 2**64 - 1)
ENTRIES = st.builds(
    Entry,
    st.sampled_from(Kind),
    st.integers(0, 2**16 - 1),
    U64,
    U64,
    U64,
    U64,
    st.integers(0, 2**32 - 1),
    st.binary(max_size=60),
)
RULES = Rules(1, 2, 3, 4, 5, 6, 7, 8, 9, "main")


@given(ENTRIES)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    data = entry.pack()
    assert unpack(5, data) == entry
    assert len(data) == ENTRY_OVERHEAD + len(entry.body)


@given(ENTRIES, st.data())
def test_each_damaged_byte_is_found(entry: Entry, data: st.DataObject) -> None:
    packed = bytearray(entry.pack())
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(LogBroken, match="entry 5 of the log"):
        unpack(5, bytes(packed))


@given(ENTRIES, st.data())
def test_each_cut_is_found(entry: Entry, data: st.DataObject) -> None:
    packed = entry.pack()
    with pytest.raises(LogBroken, match="entry 5 of the log"):
        unpack(5, packed[: data.draw(st.integers(0, len(packed) - 1))])


def test_an_entry_of_another_format_says_upgrade() -> None:
    data = b"\x02" + Entry(Kind.BYE, 1, 2, 3, 4, 5, 6).pack()[1:]
    with pytest.raises(LogBroken, match="has the format 2, this server reads 1: upgrade it"):
        unpack(9, data)


def test_an_entry_of_a_kind_to_come_says_upgrade() -> None:
    entry = Entry(99, 7, 2, 3, 4, 5, 6)  # type: ignore[arg-type]
    with pytest.raises(LogBroken, match="of the kind 99 of version 7: upgrade"):
        unpack(9, entry.pack())


@given(U64, U64, st.text(max_size=60), st.integers(0, 2**16 - 1))
def test_bodies_come_back(a: int, b: int, name: str, version: int) -> None:
    assert Genesis.unpack(Genesis(a, b, RULES).pack()) == Genesis(a, b, RULES)
    assert Down.unpack(Down(a, b).pack()) == Down(a, b)
    assert Up.unpack(Up(version, name).pack()) == Up(version, name)
    assert unpack_version(pack_version(version)) == version


@pytest.mark.parametrize("kind", [Genesis(1, 2, RULES), Down(3, 4), Up(5, "name")])
def test_a_body_of_another_size_is_refused(kind: Genesis | Down | Up) -> None:
    for body in (kind.pack()[:-1], kind.pack() + b"x"):
        with pytest.raises(struct.error):
            type(kind).unpack(body)


def test_the_rules_say_how_they_differ() -> None:
    other = RULES._replace(seats=16, down_ms=7, told_max_bytes=12_345_678)
    assert RULES.differences(RULES) == []
    assert RULES.differences(other) == [
        "seats is 1, and 16 in the room",
        "outbox_soft_bytes is 7, and 12345678 in the room",
        "cluster_down_s is 0.009, and 0.007 in the room",
    ]
