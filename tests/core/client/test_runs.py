"""Runs of EXECUTE and ROUTED: both twins against a reading frame by frame, and a session in any chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.codes import Status
from rankmux.core.client.events import CommandsReceived, Ended, ExecuteReceived, ResultsRouted
from rankmux.core.client.results import RoutedResult
from rankmux.core.client.runs import ENDS, STATUSES
from rankmux.wire import Accepted, Done, Execute, Ping, Routed

from ...support.client_sessions import feed, flat, joined

LIMIT = 200
PAYLOADS = st.sampled_from([b"", b"x", bytes(150), bytes(183), bytes(184)])
EXECUTES = st.builds(
    Execute,
    st.integers(0, 40),
    st.integers(0, 5),
    st.sampled_from([0, 1, 2, 255]),
    st.sampled_from([0, 9]),
    PAYLOADS,
)
ROUTEDS = st.builds(
    Routed,
    st.integers(1, 2),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from([*map(int, Status), 6, 15, 17, 255]),
    PAYLOADS,
)
STREAMS = st.lists(st.one_of(EXECUTES, EXECUTES, ROUTEDS, ROUTEDS, st.just(Ping(b"hi"))), max_size=12)


def expected_executes(frames: list[object], rank: int, seq: int) -> list[ExecuteReceived]:
    found = []
    for frame in frames:
        if not isinstance(frame, Execute) or len(frame.encode()) - 4 > LIMIT:
            break
        if frame.flags > 1 or frame.seq <= seq or frame.sender_rank >= rank:
            break
        seq = frame.seq
        found.append(
            ExecuteReceived(seq, frame.sender_rank, rank, bool(frame.flags), frame.ttl_ms, frame.payload)
        )
    return found


def expected_results(frames: list[object]) -> list[Routed]:
    found: list[Routed] = []
    for frame in frames:
        if not isinstance(frame, Routed) or len(frame.encode()) - 4 > LIMIT or frame.status not in STATUSES:
            break
        if found and frame.id != found[0].id:
            break
        found.append(frame)
    return found


@given(
    frames=STREAMS,
    cut=st.integers(0, 12),
    rank=st.integers(0, 6),
    seq=st.integers(0, 20),
    ahead=st.integers(0, 3),
)
def test_executes(framing, frames, cut, rank, seq, ahead):
    """There are `ahead` bytes before the cursor, and the last frame lacks `cut` bytes."""
    stream = b"".join(frame.encode() for frame in frames)
    stream = stream[: len(stream) - cut] if cut <= len(stream) else stream
    whole = []
    size = 0
    for frame in frames:
        size += len(frame.encode())
        if size <= len(stream):
            whole.append(frame)
    expected = expected_executes(whole, rank, seq)
    run, end, payloads = framing.cut_executes(
        bytearray(bytes(ahead) + stream), ahead, LIMIT, rank, seq, ExecuteReceived
    )
    assert run == expected
    assert all(type(one) is ExecuteReceived for one in run)
    assert end - ahead == sum(len(frame.encode()) for frame in frames[: len(run)])
    assert payloads == sum(len(one.payload) for one in run)


@given(frames=STREAMS, ahead=st.integers(0, 3))
def test_results(framing, frames, ahead):
    expected = expected_results(frames)
    stream = bytearray(bytes(ahead) + b"".join(frame.encode() for frame in frames))
    id_, run, ends, end, payloads = framing.cut_results(stream, ahead, LIMIT, RoutedResult, STATUSES)
    assert id_ == (expected[0].id if expected else -1)
    assert run == [RoutedResult(one.rank, one.ticket, Status(one.status), one.payload) for one in expected]
    assert all(type(one) is RoutedResult and type(one.status) is Status for one in run)
    assert ends == [sum(one.status == status for one in expected) for status in range(ENDS)]
    assert end - ahead == sum(len(frame.encode()) for frame in expected)
    assert payloads == sum(len(one.payload) for one in run)


def test_a_run_in_one_event_and_its_seq():
    session = joined(rank=2)
    frames = [Execute(12 + number, 1, number % 2, 0, b"x" * number) for number in range(5)]
    (event,) = feed(session, *frames)
    assert isinstance(event, CommandsReceived)
    assert [one.seq for one in event.commands] == [12, 13, 14, 15, 16]
    assert event.size == 10
    assert session.seat.seq == 16
    (ended,) = feed(session, Execute(16, 1, 0, 0, b"again"))
    assert "seq 16 behind seq 16" in str(ended.error)


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_results_that_are_too_many_end_it_after_those_in_order(pieces):
    session = joined()
    id_ = session.send_command(b"x", results=True)
    frames = [Routed(id_, 5 + number, 3 + number, Status.OK, b"r") for number in range(3)]
    stream = b"".join(frame.encode() for frame in (Accepted(id_, 12, 2, 0), *frames))
    events: list[object] = []
    for start in range(0, len(stream), pieces):
        session.receive_data(stream[start : start + pieces])
        events += session.events()
    results = [one for event in events if isinstance(event, ResultsRouted) for one in event.results]
    assert [one.ticket for one in results] == [5, 6]
    assert isinstance(events[-1], Ended)
    assert "more than that ended" in str(events[-1].error)


def test_results_of_several_commands_interleaved():
    session = joined()
    one, other = (session.send_command(b"x", results=True, quiet=True) for _ in range(2))
    frames = [Routed(id_, 5, 3, Status.PART, b"p") for id_ in (one, one, other, one)]
    ends = [Routed(id_, 5, 3, Status.OK, b"e") for id_ in (one, other)]
    events = flat(feed(session, *frames, *ends, Done(one, 1, 0, 0, 0, 0), Done(other, 1, 0, 0, 0, 0)))
    seen = [(event.id, len(event.results)) for event in events if isinstance(event, ResultsRouted)]
    assert seen == [(one, 1), (one, 1), (other, 1), (one, 1), (one, 1), (other, 1)]
    assert not any(isinstance(event, Ended) for event in events)
