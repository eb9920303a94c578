"""The sans-I/O client session: the handshake, the table of states, its output, and any chunking."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.codes import Cause, ErrorCode, Status, Target
from rankmux.core.client.events import (
    ExecuteReceived,
    ExecuteRejected,
    Promoted,
    ServerErrorReceived,
    Welcomed,
)
from rankmux.core.client.pending import SILENT_ID
from rankmux.core.client.session import ClientSession, ClientState
from rankmux.errors import ArgumentError, AuthError, PayloadTooBig, ServerError, StateError
from rankmux.wire import Accepted, Command, ErrorFrame, Execute, Hello, Ping, Pong, Rank, Result, Who

from ...support.client_sessions import (
    WELCOME,
    awaiting,
    ended,
    feed,
    flat,
    joined,
    leaving,
    snapshot,
    violation,
)


def test_hello_is_that_of_the_protocol_page():
    assert ClientSession("ada").data_to_send() == bytes.fromhex("0000000b0101000361646100000000")
    assert ClientSession("ada", b"secret").data_to_send() == Hello("ada", b"secret").encode()


def test_the_fields_of_welcome():
    session = ClientSession("ada")
    assert (session.seat.rank, session.seat.ticket, session.seat.member_count) == (None, None, None)
    assert feed(session, WELCOME) == [Welcomed(9, 3, 11, 2, 3, 10, 65536, 10_000)]
    assert (session.seat.rank, session.seat.ticket, session.seat.member_count, session.seat.capacity) == (
        2,
        3,
        3,
        10,
    )
    assert (session.seat.instance, session.seat.seq, session.max_payload, session.ping_ms) == (
        9,
        11,
        65536,
        10_000,
    )


@pytest.mark.parametrize("name", ["x" * 65, "é" * 33, "two\nlines", "\x7f", "\ud800"])
def test_a_name_that_the_server_would_not_take(name):
    with pytest.raises(ArgumentError, match="printable"):
        ClientSession(name)


def test_a_token_that_the_server_would_not_take():
    with pytest.raises(ArgumentError) as caught:
        ClientSession(token=b"secret" * 200)
    assert "secret" not in str(caught.value), "a token is never shown"


@pytest.mark.parametrize("code", list(ErrorCode))
def test_error_instead_of_welcome(code):
    session = ClientSession()
    error = ErrorFrame(code, "no")
    assert feed(session, error)[0] == ServerErrorReceived(code, "no")
    assert session.state is ClientState.ENDED
    session = ClientSession()
    (_, ended) = feed(session, error)
    assert isinstance(ended.error, AuthError if code == ErrorCode.AUTH else ServerError)
    assert (ended.error.code, ended.error.text) == (code, "no")


@pytest.mark.parametrize(
    "frame", [Execute(1, 0, 0, 0, b"x"), Ping(b""), Rank(1, 0, 1, 1), Accepted(1, 1, 1, 1)]
)
def test_no_frame_is_accepted_before_welcome(frame):
    session = ClientSession()
    session.receive_data(frame.encode() + WELCOME.encode())
    assert violation(session).code == ErrorCode.PROTOCOL


def test_a_seat_in_a_room_with_more_members_than_seats():
    """The operator has lowered their number (section 1)."""
    session = ClientSession()
    assert feed(session, WELCOME._replace(rank=2, members=11, capacity=10))
    assert (session.seat.rank, session.seat.member_count, session.seat.capacity) == (2, 11, 10)


@pytest.mark.parametrize(("rank", "members", "capacity"), [(3, 3, 10), (0, 0, 10), (2, 1, 10)])
def test_a_welcome_that_makes_no_sense(rank, members, capacity):
    session = ClientSession()
    session.receive_data(WELCOME._replace(rank=rank, members=members, capacity=capacity).encode())
    violation(session)


def test_a_second_welcome():
    session = joined()
    session.receive_data(WELCOME.encode())
    assert violation(session).code == ErrorCode.PROTOCOL


SENDS = {
    "command": lambda session: session.send_command(b"x"),
    "result": lambda session: session.send_result(1, Status.OK, b"x"),
    "who": lambda session: session.send_who(),
    "ping": lambda session: session.send_ping(b"x"),
    "leave": lambda session: session.send_leave(),
}


@pytest.mark.parametrize("make", [awaiting, leaving, ended], ids=lambda make: make.__name__)
@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS.keys())
def test_a_step_that_is_not_allowed_changes_nothing(make, send):
    session = make()
    before = snapshot(session)
    with pytest.raises(StateError):
        send(session)
    assert snapshot(session) == before


@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS.keys())
def test_a_member_may_send_everything(send):
    session = joined()
    send(session)
    assert session.data_to_send()


BAD_ARGUMENTS = {
    "too big a command": (PayloadTooBig, lambda session: session.send_command(bytes(65537))),
    "too big a result": (PayloadTooBig, lambda session: session.send_result(1, Status.OK, bytes(65537))),
    "an arg for ALL": (ArgumentError, lambda session: session.send_command(b"", Target.ALL, 1)),
    "a negative rank": (ArgumentError, lambda session: session.send_command(b"", Target.ONE, -1)),
    "too long a ttl": (ArgumentError, lambda session: session.send_command(b"", ttl_ms=1 << 32)),
    "a status of the server": (ArgumentError, lambda session: session.send_result(1, Status.EXPIRED)),
    "too long a ping": (ArgumentError, lambda session: session.send_ping(bytes(65))),
    "a negative first rank": (ArgumentError, lambda session: session.send_who(-1)),
}


@pytest.mark.parametrize(("kind", "send"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
def test_an_argument_that_is_wrong_changes_nothing(kind, send):
    session = joined()
    before = snapshot(session)
    with pytest.raises(kind):
        send(session)
    assert snapshot(session) == before


def test_limits_are_those_of_welcome():
    session = joined(max_payload=10)
    session.send_command(bytes(10))
    with pytest.raises(PayloadTooBig) as caught:
        session.send_command(bytes(11))
    assert (caught.value.size, caught.value.limit) == (11, 10)


def test_frames_are_those_of_the_protocol_page():
    session = joined()
    id_ = session.send_command(b"print", results=True, ttl_ms=5000)
    assert session.data_to_send() == Command(id_, 0, 0, 1, 5000, b"print").encode()
    id_ = session.send_command(b"debug", Target.ONE, 2, quiet=True)
    assert id_ & SILENT_ID
    assert session.data_to_send() == Command(id_, 1, 2, 2, 0, b"debug").encode()
    session.send_result(42, Status.OK, b"done")
    assert session.data_to_send() == bytes.fromhex("0000000e03000000000000002a00646f6e65")
    id_ = session.send_who(0, 100)
    assert session.data_to_send() == Who(id_, 0, 100).encode()
    session.send_ping(b"hi")
    assert session.data_to_send() == bytes.fromhex("00000003066869")
    session.send_leave()
    assert session.data_to_send() == bytes.fromhex("0000000108")


@given(st.lists(st.integers(1, 30), min_size=1))
def test_data_to_send_in_pieces_is_the_same(sizes):
    session = joined()
    for _ in range(5):
        session.send_command(b"command")
    whole = bytes(session._output)
    pieces = [session.data_to_send(size) for size in sizes]
    assert all(len(piece) <= size for piece, size in zip(pieces, sizes, strict=True))
    assert b"".join(pieces) + session.data_to_send() == whole
    assert session.data_to_send() == b""


def test_no_ping_is_sent_where_it_is_of_no_use():
    """Pending output is already a sign of life; and no peer listens before WELCOME, after LEAVE or after the end."""
    session = joined()
    session.send_command(b"x")
    for silent in (session, awaiting(), leaving(), ended()):
        before = snapshot(silent)
        silent.try_ping()
        assert snapshot(silent) == before


CONVERSATION = [
    WELCOME._replace(max_payload=100_000),
    Execute(12, 0, 1, 5000, b"print"),
    Execute(13, 2, 1, 0, b"not for us to run"),
    Execute(14, 1, 0, 0, bytes(100_000)),
    Rank(15, 1, 2, Cause.LOST),
    Ping(b"hi"),
    Execute(20, 0, 1, 0, b""),
    Rank(21, 0, 1, Cause.LEFT),
    Ping(b""),
    ErrorFrame(ErrorCode.SHUTDOWN, "bye"),
    Ping(b"behind the end"),
]
EXPECTED = [
    Welcomed(9, 3, 11, 2, 3, 10, 100_000, 10_000),
    ExecuteReceived(12, 0, 2, True, 5000, b"print"),
    ExecuteRejected(13, 2, 2, True, b"not for us to run"),
    ExecuteReceived(14, 1, 2, False, 0, bytes(100_000)),
    Promoted(15, 2, 1, 2, Cause.LOST),
    ExecuteReceived(20, 0, 1, True, 0, b""),
    Promoted(21, 1, 0, 1, Cause.LEFT),
    ServerErrorReceived(ErrorCode.SHUTDOWN, "bye"),
]


@given(st.lists(st.integers(0, 200_000), max_size=12))
def test_any_chunking_gives_the_same_events(cuts):
    stream = b"".join(frame.encode() for frame in CONVERSATION)
    session = ClientSession()
    events: list[object] = []
    output = session.data_to_send()
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in pairwise(places):
        session.receive_data(stream[start:end])
        events += session.events()
        output += session.data_to_send()
    assert flat(events)[:-1] == EXPECTED
    assert isinstance(events[-1].error, ServerError)
    rejection = Result(13, Status.REJECTED, b"rank 2 does not outrank 2").encode()
    assert (Hello().encode() + rejection + Pong(b"hi").encode() + Pong(b"").encode()).startswith(output)


def test_byte_by_byte_through_the_handshake():
    session = ClientSession()
    events: list[object] = []
    for byte in b"".join(frame.encode() for frame in CONVERSATION[:3]):
        session.receive_data(bytes((byte,)))
        events += session.events()
    assert flat(events) == EXPECTED[:3]
