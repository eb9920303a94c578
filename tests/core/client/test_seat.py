"""A client's seat: the frames about its rank, and the commands that it accepts for that rank."""

from __future__ import annotations

import pytest

from rankmux.codes import Cause, ErrorCode, Status
from rankmux.core.client.events import (
    CommandAccepted,
    CommandDone,
    Ended,
    ExecuteReceived,
    ExecuteRejected,
    Promoted,
    ResultsRouted,
)
from rankmux.errors import ConnectionLost
from rankmux.wire import Accepted, Done, Execute, Ping, Rank, Result, Routed

from ...support.client_sessions import WELCOME, feed, flat, joined, violation


def test_a_command_from_below_is_rejected_by_the_client_itself():
    session = joined(rank=2)
    assert feed(session, Execute(12, 2, 1, 0, b"x"), Execute(13, 7, 0, 0, b"y")) == [
        ExecuteRejected(12, 2, 2, True, b"x"),
        ExecuteRejected(13, 7, 2, False, b"y"),
    ]
    assert session.data_to_send() == Result(12, Status.REJECTED, b"rank 2 does not outrank 2").encode()


def test_the_rank_that_counts_is_that_of_the_moment():
    session = joined(rank=1, members=2)
    frames = (Execute(12, 0, 0, 0, b"a"), Rank(13, 0, 1, Cause.LEFT), Execute(14, 0, 0, 0, b"b"))
    kinds = [type(event) for event in flat(feed(session, *frames))]
    assert kinds == [ExecuteReceived, Promoted, ExecuteRejected]


@pytest.mark.parametrize(
    "frames",
    [
        (Execute(11, 0, 0, 0, b""),),
        (Execute(12, 0, 0, 0, b""), Execute(12, 0, 0, 0, b"")),
        (Execute(13, 0, 0, 0, b""), Execute(12, 0, 0, 0, b"")),
        (Rank(12, 1, 2, 1), Execute(12, 0, 0, 0, b"")),
        (Rank(12, 2, 3, 1),),
        (Rank(12, 3, 4, 1),),
        (Rank(12, 1, 1, 1),),
        (Rank(12, 1, 2, 0),),
        (Execute(12, 0, 2, 0, b""),),
    ],
    ids=[
        "an old seq",
        "a seq twice",
        "backwards",
        "one seq for two things",
        "a rank that did not change",
        "a demotion",
        "a rank without a member",
        "no cause",
        "a reserved flag",
    ],
)
def test_frames_that_no_server_sends(frames):
    session = joined(rank=2)
    session.receive_data(b"".join(frame.encode() for frame in frames))
    assert violation(session).code == ErrorCode.PROTOCOL


def test_after_leave_nothing_is_executed_and_the_end_is_clean():
    session = joined(rank=2)
    id_ = session.send_command(b"last", results=True)
    session.send_leave()
    assert session.seat.rank is None
    session.data_to_send()
    events = feed(
        session,
        Execute(12, 0, 1, 0, b"x"),
        Rank(13, 1, 2, 1),
        Accepted(id_, 14, 1, 2),
        Routed(id_, 9, 3, Status.OK, b"ok"),
        Done(id_, 1, 0, 0, 0, 0),
        Ping(b"?"),
    )
    assert [type(event) for event in events] == [CommandAccepted, ResultsRouted, CommandDone]
    assert session.data_to_send() == b""
    session.receive_eof()
    assert session.events() == [Ended(None)]
    session.receive_eof()
    session.receive_data(WELCOME.encode())
    assert session.events() == []


@pytest.mark.parametrize("partial", [b"", b"\0", Ping(b"hi").encode()[:-1]])
def test_the_stream_ends(partial):
    session = joined()
    session.send_command(b"under way", results=True)
    session.receive_data(partial)
    session.receive_eof("Connection reset by peer")
    (event,) = session.events()
    assert isinstance(event.error, ConnectionLost)
    assert event.error.reason == "Connection reset by peer"
    assert session.seat.rank is None
    assert session.data_to_send() == b""
