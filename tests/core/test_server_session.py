"""One connection's life as a table: illegal steps change nothing; bytes in any chunks give the same events."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.codes import ErrorCode
from rankmux.core.room.batch import Batch
from rankmux.core.server_session import HELLO_MAX_BYTES, Session, State, Step
from rankmux.errors import ProtocolViolation, StateError
from rankmux.wire import Command, Hello, Leave, Ping, Result, Welcome, Who

from ..support.strategies import chunkings, streams, with_length
from .room.test_batch import TICKET, comparable, expected_feed

LEGAL = {
    (State.GREETING, Step.HELLO): State.JOINING,
    (State.GREETING, Step.END): State.ENDED,
    (State.JOINING, Step.SEAT): State.MEMBER,
    (State.JOINING, Step.END): State.ENDED,
    (State.MEMBER, Step.END): State.ENDED,
}
ROADS = {
    State.GREETING: (),
    State.JOINING: (Step.HELLO,),
    State.MEMBER: (Step.HELLO, Step.SEAT),
    State.ENDED: (Step.END,),
}


def session(state: State) -> Session:
    made = Session()
    for step in ROADS[state]:
        made.step(step)
    made.ticket = TICKET if state is State.MEMBER else 0
    assert made.state is state
    return made


@pytest.mark.parametrize(
    ("state", "step"), list(itertools.product(State, Step)), ids=lambda value: value.name
)
def test_the_table(state, step):
    one = session(state)
    one.pending = bytearray(b"\0\0")
    if (state, step) in LEGAL:
        one.step(step)
        assert one.state is LEGAL[state, step]
        assert one.pending == (None if one.state is State.ENDED else b"\0\0")
        return
    with pytest.raises(StateError) as caught:
        one.step(step)
    assert (one.state, one.pending) == (state, b"\0\0")
    assert (caught.value.step, caught.value.state) == (step.label, state.value)


def greet(chunks: list[bytes], max_payload: int = 65_536) -> tuple[Session, list[Any], Batch]:
    one, batch = Session(), Batch(max_payload)
    events = []
    for chunk in chunks:
        for event in one.receive_data(chunk, batch):
            events.append(comparable(event))
            one.step(Step.HELLO if isinstance(event, Hello) else Step.END)
    return one, events, batch


HELLO = Hello("ada", b"secret").encode()


@pytest.mark.parametrize("behind", [b"", b"\0", Command(1, 0, 0, 0, 0, b"x").encode(), bytes(10)])
def test_hello_at_every_split_point(behind):
    """Frames behind it are kept as they are until the seat is taken."""
    stream = HELLO + behind
    for at in range(len(stream) + 1):
        one, events, batch = greet([stream[:at], stream[at:]])
        assert events == [("Hello", Hello("ada", b"secret"))]
        assert bytes(one.pending or b"") == behind
        assert len(batch) == 0
    one, events, _ = greet([stream[i : i + 1] for i in range(len(stream))])
    assert events == [("Hello", Hello("ada", b"secret"))]
    assert bytes(one.pending or b"") == behind


def test_what_came_behind_hello_is_read_in_order():
    first, second = Command(1, 0, 0, 0, 0, b"1").encode(), Command(2, 0, 0, 0, 0, b"2").encode()
    one, _, batch = greet([HELLO + first + second[:5], second[5:8]])
    one.step(Step.SEAT)
    one.ticket = 9
    assert one.receive_data(b"", batch) == []
    assert [entry[:2] for entry in batch.entries()[0]] == [(9, 1)]
    assert one.receive_data(second[8:] + Leave().encode(), batch) == [Leave()]
    assert [entry[:2] for entry in batch.entries()[0]] == [(9, 1), (9, 2)]
    assert one.pending is None


BEFORE_HELLO = [
    (bytes(4), ErrorCode.PROTOCOL),
    (b"\xff\xff\xff\xff", ErrorCode.TOO_BIG),
    (b"\x7f\xff\xff\xff", ErrorCode.TOO_BIG),
    ((HELLO_MAX_BYTES + 1).to_bytes(4), ErrorCode.TOO_BIG),
    (b"GET / HTTP/1.1\r\n", ErrorCode.TOO_BIG),
    (b"\x16\x03\x01\x02\x00\x01", ErrorCode.TOO_BIG),  # TLS
    (Command(1, 0, 0, 0, 0, b"").encode()[:5], ErrorCode.PROTOCOL),
    (Ping(b"").encode(), ErrorCode.PROTOCOL),
    (Leave().encode(), ErrorCode.PROTOCOL),
    (Welcome(*range(8)).encode()[:5], ErrorCode.UNSUPPORTED),
    (with_length(b"\x04")[:5], ErrorCode.UNSUPPORTED),
    (with_length(b"\x01\x02"), ErrorCode.UNSUPPORTED),
    (with_length(b"\x01\x01\x00\x00\x00\x09"), ErrorCode.PROTOCOL),
]


@pytest.mark.parametrize(("octets", "code"), BEFORE_HELLO)
def test_what_may_not_stand_before_hello(octets, code):
    """Told as soon as it can be, whatever is behind it, and byte by byte as well."""
    for chunks in ([octets], [octets + HELLO], [octets[i : i + 1] for i in range(len(octets))]):
        one, events, batch = greet(chunks)
        assert [event[:2] for event in events] == [("breach", code)]
        assert (one.state, one.pending, len(batch)) == (State.ENDED, None, 0)


def test_bytes_before_hello_are_bounded():
    one, events, _ = greet([HELLO_MAX_BYTES.to_bytes(4) + b"\x01", bytes(HELLO_MAX_BYTES - 2)])
    assert events == []
    assert len(one.pending or b"") == HELLO_MAX_BYTES + 3
    _, events, _ = greet([(200).to_bytes(4)], max_payload=100)
    assert [event[:2] for event in events] == [("breach", ErrorCode.TOO_BIG)]
    _, events, _ = greet([(164).to_bytes(4)], max_payload=100)
    assert events == []


def member_events(one: Session, chunks: list[bytes], batch: Batch) -> list[Any]:
    """As the server does: behind LEAVE and a breach the life is over."""
    events = []
    for chunk in chunks:
        for event in one.receive_data(chunk, batch):
            events.append(comparable(event))
            if isinstance(event, Leave | ProtocolViolation):
                one.step(Step.END)
    return events


@given(data=st.data())
def test_a_members_stream_in_any_chunks(data):
    stream = data.draw(streams())
    max_payload = data.draw(st.sampled_from([1, 20, 40, 65_536]))
    commands, results, events, taken = expected_feed(stream, max_payload)
    whole = [stream]
    single = [stream[i : i + 1] for i in range(len(stream))]
    for chunks in (whole, single, data.draw(chunkings(stream))):
        one, batch = session(State.MEMBER), Batch(max_payload)
        assert member_events(one, chunks, batch) == events
        assert batch.entries() == (commands, results)
        if one.state is State.MEMBER:
            assert bytes(one.pending or b"") == stream[taken:]
        else:
            assert one.pending is None


def test_a_long_frame_that_drips_in():
    one, batch = session(State.MEMBER), Batch(100_000)
    octets = Result(7, 0, bytes(100_000)).encode()
    for at in range(0, len(octets) - 1, 1000):
        assert one.receive_data(octets[at : at + 1000], batch) == []
    assert len(batch.entries()[1]) == 1
    assert one.pending is None


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_no_bytes_mean_nothing(state):
    one, batch = session(state), Batch(100)
    assert one.receive_data(b"", batch) == []
    assert (one.state, one.pending, len(batch)) == (state, None, 0)


def test_behind_the_end_nothing_counts():
    one, batch = session(State.ENDED), Batch(100)
    assert one.receive_data(HELLO + Command(1, 0, 0, 0, 0, b"").encode(), batch) == []
    assert (one.pending, len(batch)) == (None, 0)


def test_while_joining_all_is_kept():
    one, batch = session(State.JOINING), Batch(100)
    for octets in (bytes(4), Who(1, 2, 3).encode()):
        assert one.receive_data(octets, batch) == []
    assert one.pending == bytes(4) + Who(1, 2, 3).encode()


def test_a_second_hello():
    one, batch = session(State.MEMBER), Batch(100)
    (breach,) = one.receive_data(HELLO, batch)
    assert isinstance(breach, ProtocolViolation)
    assert breach.code == ErrorCode.PROTOCOL
