"""Turns as bodies of entries: all of a turn comes back, and frames are cut only between them."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.codes import Status, Target
from rankmux.core.cluster.turns import RANK_AT, TurnBody, frames_of
from rankmux.core.room.encoding import runs
from rankmux.core.room.turn import Join
from rankmux.wire import Command, Result, SetBaton

from ...support.twins import TWINS

U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
BYTE = st.integers(0, 255)
TEXT = st.text(max_size=20)


@st.composite
def bodies(draw: st.DrawFn) -> TurnBody:
    many: Any = lambda *of: draw(st.lists(st.tuples(*of), max_size=3))  # noqa: E731
    count = draw(st.integers(0, 3))
    joins = [
        (
            draw(U64),
            Join(
                -2 - index,
                draw(TEXT),
                draw(TEXT),
                draw(st.binary(max_size=32)),
                draw(U32),
                draw(U64),
                draw(TEXT),
            ),
        )
        for index in range(count)
    ]
    return TurnBody(
        draw(st.booleans()),
        many(U64, BYTE),
        draw(st.lists(U64, max_size=3)),
        draw(st.lists(U64, max_size=3)),
        many(U64, U32),
        many(U64, U32),
        draw(st.lists(U64, max_size=3)),
        joins,
        many(U32, U64),
        draw(st.binary(max_size=40)),
    )


@given(bodies())
def test_a_body_comes_back_as_it_was(body: TurnBody) -> None:
    assert TurnBody.unpack(body.pack()) == body


@pytest.mark.parametrize("body", [TurnBody(named=[(1, 5), (2, 6)]), TurnBody(absences=[1, 2], slow=[3])])
def test_a_list_that_ends_too_early_is_an_error(body: TurnBody) -> None:
    """Also where it ends between two items."""
    for end in range(len(body.pack())):
        with pytest.raises(struct.error):
            TurnBody.unpack(body.pack()[:end])


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 4), st.integers(0, 60), st.sampled_from(["command", "one", "result", "baton"])
        )
    ),
    st.integers(60, 300),
)
def test_frames_are_cut_between_them_and_none_is_lost(twin: Any, drawn: Any, most: int) -> None:
    """Member 4 has no connection here. What the bodies hold is what was fed, results first, each member's in order."""
    batch, expected = twin.Batch(1000), []
    for number, (ticket, size, kind) in enumerate(drawn):
        frame: Any = {
            "command": Command(number, Target.ALL, 0, 0, 0, b"x" * size),
            "one": Command(number, Target.ONE, size % 5, 0, 0, b"y" * size),
            "result": Result(number, Status.OK, b"z" * size),
            "baton": SetBaton(number, b"b" * size),
        }[kind]
        batch.feed(ticket, frame.encode())
        if ticket != 4:
            expected.append((kind != "result", number, ticket, frame))
    tickets = [1, 2, 3]
    found = frames_of(batch, lambda ticket: 10 * ticket if ticket != 4 else 0, tickets, most)
    seen, named = b"", []
    for frames, places in found:
        read = list(runs(frames))
        assert len(frames) + 12 * len(places) <= most or len(read) == 1
        seen += b"".join(bytes([serial]) + data for serial, data in read)
        for offset, ticket in places:
            rank = int.from_bytes(frames[offset : offset + 4])
            assert ticket == (tickets[rank] if rank < 3 else 0)
            named.append(ticket)
    expected.sort(key=lambda item: item[:2])
    assert len(named) == sum(
        isinstance(frame, Command) and frame.target == Target.ONE for *_, frame in expected
    )
    octets = b"".join(frame.encode() for *_, frame in expected)
    assert b"".join(data for frames, _ in found for _, data in runs(frames)) == octets
    serials = [
        serial // 10 for frames, _ in found for serial, data in runs(frames) for _ in range(_frames(data))
    ]
    assert serials == [ticket for _, _, ticket, _ in expected]


def _frames(data: bytes) -> int:
    count = 0
    while data:
        data = data[4 + int.from_bytes(data[:4]) :]
        count += 1
    return count


def test_where_a_command_has_its_rank() -> None:
    frame = Command(1, Target.ONE, 0x01020304, 0, 0, b"payload").encode()
    assert frame[RANK_AT : RANK_AT + 4] == b"\x01\x02\x03\x04"
