"""A client session fed with arbitrary bytes: it never raises, and its memory is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.codes import DEFAULT_MAX_PAYLOAD, FRAME_OVERHEAD, NO_RANK, Change, ErrorCode
from rankmux.core.client import events
from rankmux.core.client.events import (
    CommandAccepted,
    CommandsForgotten,
    Ended,
    ExecuteReceived,
    ExecutionCancelled,
    LineChanged,
    RefusalReceived,
)
from rankmux.core.client.session import ClientSession, ClientState
from rankmux.errors import StateError
from rankmux.wire import (
    Accepted,
    Baton,
    Changed,
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
    Yielded,
)

from ...support.client_sessions import WELCOME, feed, flat, joined, observing, violation

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
    st.builds(Yielded, st.integers(0, 6), U32, U32, st.integers(0, 3), st.integers(0, 3)),
    st.builds(Baton, U32, U32, st.binary(max_size=9)),
    st.builds(Changed, U32, st.integers(0, 8), U32, U32, U32, st.text(max_size=3)),
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
        session.send_yield()
        session.send_baton(b"x")
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
    assert [type(event) for event in flat(feed(session, frame))] == [ExecuteReceived]
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


def test_frames_before_a_broken_one_count():
    session = joined()
    session.receive_data(Execute(12, 0, 0, 0, b"x").encode() + bytes(4) + Execute(13, 0, 0, 0, b"y").encode())
    first, last = flat(session.events())
    assert first == ExecuteReceived(12, 0, 2, False, 0, b"x")
    assert isinstance(last, Ended)


def test_a_cancel_for_an_unknown_command_is_ignored():
    session = joined()
    assert feed(session, Stop(0), Stop(999), Stop(2**64 - 1)) == [
        ExecutionCancelled(0),
        ExecutionCancelled(999),
        ExecutionCancelled(2**64 - 1),
    ]


CHANGE = Changed(12, 1, 9, 3, 4, "dan")


def test_changes_grow_in_seq_and_only_watchers_get_them():
    session = joined(watch=True)
    assert feed(session, CHANGE) == [LineChanged(12, Change.JOINED, 9, 3, 4, "dan")]
    assert session.seat.member_count == 4
    session.receive_data(CHANGE.encode())
    violation(session)
    session = joined(watch=True)
    session.receive_data(CHANGE._replace(seq=11).encode())  # that of WELCOME
    violation(session)
    session = joined()
    session.receive_data(CHANGE.encode())
    violation(session)


def test_changes_come_after_the_rank_of_their_turn():
    """Their seqs increase independently of RANK, which has that of the last departure."""
    session = joined(watch=True)
    first, last = Changed(12, 2, 1, 0, 2, "x"), Changed(13, 3, 2, 1, 1, "y")
    assert len(feed(session, Rank(13, 0, 1, 1), first, last)) == 3


@pytest.mark.parametrize(
    "frames",
    [
        [Baton(5, 1, b"note")],
        [Rank(12, 1, 3, 1), Baton(5, 1, b"note")],
        [Rank(12, 0, 1, 1), Baton(5, 1, b"note"), Baton(5, 1, b"note")],
        [Rank(12, 0, 1, 1), Ping(b""), Baton(5, 1, b"note")],
    ],
)
def test_a_baton_comes_right_after_rank_0(frames):
    session = joined()
    session.receive_data(b"".join(frame.encode() for frame in frames))
    violation(session)


def test_a_baton_with_rank_0():
    session = joined()
    feed(session, Rank(12, 0, 1, 1), Baton(5, 1, b"note"))
    assert session.seat.baton == Baton(5, 1, b"note")
    session = ClientSession()
    feed(session, WELCOME._replace(rank=0), Baton(5, 1, b"note"))
    assert session.seat.baton == Baton(5, 1, b"note")


def test_writing_the_baton():
    session = joined(rank=0)
    first, second = session.send_baton(b"one"), session.send_baton(b"")
    assert feed(session, Accepted(first, 12, 0, 0, 0)) == [CommandAccepted(first, 12, 0, 0, 0)]
    assert session.seat.baton == Baton(12, 3, b"one")
    feed(session, Accepted(second, 13, 0, 0, 0))
    assert session.seat.baton is None
    third = session.send_baton(b"three")
    assert feed(session, Refused(third, 8, "no")) == [RefusalReceived(third, 8, "no")]
    assert session.seat.baton is None
    fourth = session.send_baton(b"four")
    session.receive_data(Accepted(fourth, 14, 1, 0, 0).encode())
    violation(session)


def test_batons_under_way_are_few():
    session = joined(rank=0)
    for _ in range(16):
        session.send_baton(b"x")
    with pytest.raises(StateError, match="baton"):
        session.send_baton(b"x")


def test_stepping_back():
    session = joined(rank=0)
    waits, quick = session.send_command(b"x", results=True), session.send_command(b"x")
    feed(session, Accepted(waits, 12, 2, 0), Accepted(quick, 13, 2, 0))
    id_ = session.send_yield()
    with pytest.raises(StateError):
        session.send_yield()
    later = session.send_command(b"behind it", results=True)
    yielded = Yielded(id_, 15, 9, 2, 3)
    assert feed(session, yielded) == [CommandsForgotten((waits,)), events.Yielded(*yielded)]
    assert (session.seat.ticket, session.seat.rank, session.seat.member_count) == (9, 2, 3)
    assert feed(session, Refused(later, 1, "no")) == [RefusalReceived(later, 1, "no")]
    session.receive_data(Execute(15, 0, 0, 0, b"").encode())
    violation(session)


def test_a_yield_that_is_refused():
    session = joined(rank=0)
    feed(session, Refused(session.send_yield(), 1, "nobody is below"))
    assert session.seat.rank == 0
    session.send_yield()


@pytest.mark.parametrize(
    "frame",
    [
        Yielded(7, 15, 9, 2, 3),
        Yielded(1, 15, 3, 2, 3),
        Yielded(1, 15, 9, 3, 3),
        Yielded(1, 11, 9, 2, 3),
    ],
    ids=["not asked for", "the same ticket", "a rank behind the line", "an old seq"],
)
def test_a_yielded_that_makes_no_sense(frame):
    session = joined(rank=0)
    assert session.send_yield() == 1
    session.receive_data(frame.encode())
    violation(session)


def test_an_observer_has_neither_rank_nor_ticket():
    session = observing(watch=True)
    assert (session.seat.rank, session.seat.ticket, session.seat.member_count) == (None, None, 3)
    assert session.state is ClientState.OBSERVING
    assert [type(event) for event in feed(session, CHANGE)] == [LineChanged]
    session.send_who()
    session.send_ping()
    for send in (
        lambda: session.send_command(b"x"),
        lambda: session.send_result(1, 0),
        lambda: session.send_cancel(1),
        session.send_yield,
        lambda: session.send_baton(b""),
    ):
        with pytest.raises(StateError, match="only looks on"):
            send()
    session.data_to_send()
    feed(session, Ping(b"hi"))
    assert session.data_to_send() == Pong(b"hi").encode()
    session.send_leave()


@pytest.mark.parametrize(
    "frame",
    [Execute(12, 0, 0, 0, b""), Rank(12, 0, 1, 1), Stop(5), Baton(5, 1, b""), Accepted(1, 12, 0, 0)],
    ids=lambda frame: type(frame).__name__,
)
def test_frames_that_an_observer_must_not_get(frame):
    session = observing()
    session.receive_data(frame.encode())
    violation(session)


@pytest.mark.parametrize("fields", [{"ticket": 3}, {"rank": 2}])
def test_a_seat_for_an_observer(fields):
    session = ClientSession(observe=True)
    session.receive_data(WELCOME._replace(**{"ticket": 0, "rank": NO_RANK, **fields}).encode())
    violation(session)


def test_no_seat_for_a_member():
    session = ClientSession()
    session.receive_data(WELCOME._replace(ticket=0, rank=NO_RANK).encode())
    violation(session)
