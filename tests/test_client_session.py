"""The sans-I/O client session: chunking, states, what a server may and may not say, what memory it takes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rankmux.client_events import (
    CommandAccepted,
    CommandDone,
    Ended,
    ExecuteReceived,
    ExecuteRejected,
    MembersPage,
    PingReceived,
    PongReceived,
    Promoted,
    RefusalReceived,
    ResultRouted,
    ServerErrorReceived,
    Welcomed,
)
from rankmux.client_session import ClientSession, State
from rankmux.client_waiting import SILENT_ID
from rankmux.codes import DEFAULT_MAX_PAYLOAD, FRAME_OVERHEAD, Cause, ErrorCode, Status, Target
from rankmux.errors import (
    ArgumentError,
    AuthError,
    ConnectionLost,
    PayloadTooBig,
    ProtocolViolation,
    ServerError,
    StateError,
)
from rankmux.wire import (
    Accepted,
    Command,
    Done,
    ErrorFrame,
    Execute,
    Hello,
    Leave,
    MemberInfo,
    Members,
    Ping,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
    Welcome,
    Who,
)

U32 = st.integers(0, 0xFFFF_FFFF)
WELCOME = Welcome(
    instance=9, ticket=3, seq=11, rank=2, members=3, capacity=10, max_payload=65536, ping_ms=10_000
)


def joined(rank: int = 2, members: int = 3, max_payload: int = 65536, **options: int) -> ClientSession:
    session = ClientSession("ada", **options)
    session.data_to_send()
    session.receive_data(
        WELCOME._replace(rank=rank, members=members, max_payload=max_payload, capacity=1000).encode()
    )
    assert session.state is State.JOINED
    session.events()
    return session


def feed(session: ClientSession, *frames: object) -> list[object]:
    session.receive_data(b"".join(frame.encode() for frame in frames))
    return list(session.events())


def violation(session: ClientSession) -> ProtocolViolation:
    """The session has ended, and only for what the server did wrong."""
    *_, last = session.events()
    assert isinstance(last, Ended)
    assert isinstance(last.error, ProtocolViolation)
    assert session.state is State.ENDED
    assert session.rank is None
    return last.error


# The way in


def test_hello_is_that_of_the_protocol_page():
    assert ClientSession("ada").data_to_send() == bytes.fromhex("0000000b0101000361646100000000")
    assert ClientSession("ada", b"secret").data_to_send() == Hello("ada", b"secret").encode()


def test_welcome_tells_everything():
    session = ClientSession("ada")
    assert (session.rank, session.ticket, session.members) == (None, None, None)
    assert feed(session, WELCOME) == [Welcomed(9, 3, 11, 2, 3, 10, 65536, 10_000)]
    assert (session.rank, session.ticket, session.members, session.capacity) == (2, 3, 3, 10)
    assert (session.instance, session.seq, session.max_payload, session.ping_ms) == (9, 11, 65536, 10_000)


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
    assert session.state is State.ENDED
    session = ClientSession()
    (_, ended) = feed(session, error)
    assert isinstance(ended.error, AuthError if code == ErrorCode.AUTH else ServerError)
    assert (ended.error.code, ended.error.text) == (code, "no")


@pytest.mark.parametrize(
    "frame", [Execute(1, 0, 0, 0, b"x"), Ping(b""), Rank(1, 0, 1, 1), Accepted(1, 1, 1, 1)]
)
def test_nothing_comes_before_welcome(frame):
    session = ClientSession()
    session.receive_data(frame.encode() + WELCOME.encode())
    assert violation(session).code == ErrorCode.PROTOCOL


@pytest.mark.parametrize(("rank", "members", "capacity"), [(3, 3, 10), (0, 0, 10), (0, 11, 10), (2, 1, 10)])
def test_a_welcome_that_makes_no_sense(rank, members, capacity):
    session = ClientSession()
    session.receive_data(WELCOME._replace(rank=rank, members=members, capacity=capacity).encode())
    violation(session)


def test_a_second_welcome():
    session = joined()
    session.receive_data(WELCOME.encode())
    assert violation(session).code == ErrorCode.PROTOCOL


# The table of states

SENDS = {
    "command": lambda session: session.send_command(b"x"),
    "result": lambda session: session.send_result(1, Status.OK, b"x"),
    "who": lambda session: session.send_who(),
    "ping": lambda session: session.send_ping(b"x"),
    "leave": lambda session: session.send_leave(),
}


def awaiting() -> ClientSession:
    return ClientSession()


def leaving() -> ClientSession:
    session = joined()
    session.send_leave()
    return session


def ended() -> ClientSession:
    session = joined()
    session.receive_eof()
    return session


def snapshot(session: ClientSession) -> tuple[object, ...]:
    return (
        session.state,
        session.rank,
        session.waiting_commands,
        session._waiting.who,
        list(session._waiting._pings),
        bytes(session._output),
        list(session._events),
        session.seq,
    )


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


def test_what_fits_is_what_the_server_said():
    session = joined(max_payload=10)
    session.send_command(bytes(10))
    with pytest.raises(PayloadTooBig) as caught:
        session.send_command(bytes(11))
    assert (caught.value.size, caught.value.limit) == (11, 10)


# Sending


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


def test_waiting_commands_are_bounded():
    session = joined(waiting_limit=3)
    for _ in range(3):
        session.send_command(b"", results=True)
        session.send_who()
    before = snapshot(session)
    for send in (session.send_command, session.send_who):
        with pytest.raises(StateError):
            send() if send == session.send_who else send(b"")
    assert snapshot(session) == before
    session.send_command(b"", quiet=True)  # nothing is kept of these


def test_open_pings_are_bounded():
    session = joined()
    for _ in range(16):
        session.send_ping()
    with pytest.raises(StateError):
        session.send_ping()


def test_signs_of_life_take_no_memory_and_their_pongs_are_taken_in_order():
    session = joined()
    session.send_ping(b"before")
    session.data_to_send()
    for _ in range(10_000):
        session.try_ping()
        assert session.data_to_send() == Ping(b"").encode()
    assert len(session._waiting._pings) == 2
    with pytest.raises(StateError):
        session.send_ping(b"one more")
    pongs = [Pong(b"before"), *[Pong(b"")] * 10_000]
    assert feed(session, *pongs) == [PongReceived(pong.payload) for pong in pongs]
    session.send_ping(b"after")
    session.receive_data(Pong(b"").encode())
    violation(session)


def test_no_sign_of_life_is_sent_where_it_says_nothing():
    """Bytes that wait to be sent are one already; and nobody is listening before WELCOME, after LEAVE or the end."""
    session = joined()
    session.send_command(b"x")
    for silent in (session, awaiting(), leaving(), ended()):
        before = snapshot(silent)
        silent.try_ping()
        assert snapshot(silent) == before


# Receiving: the chunking

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
    PingReceived(b"hi"),
    ExecuteReceived(20, 0, 1, True, 0, b""),
    Promoted(21, 1, 0, 1, Cause.LEFT),
    PingReceived(b""),
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
    assert events[:-1] == EXPECTED
    assert isinstance(events[-1].error, ServerError)
    rejection = Result(13, Status.REJECTED, b"rank 2 does not outrank 2").encode()
    assert (Hello().encode() + rejection + Pong(b"hi").encode() + Pong(b"").encode()).startswith(output)


def test_byte_by_byte_through_the_handshake():
    session = ClientSession()
    events: list[object] = []
    for byte in b"".join(frame.encode() for frame in CONVERSATION[:3]):
        session.receive_data(bytes((byte,)))
        events += session.events()
    assert events == EXPECTED[:3]


# Receiving: ranks and commands


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
    kinds = [type(event) for event in feed(session, *frames)]
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
def test_what_a_server_never_says(frames):
    session = joined(rank=2)
    session.receive_data(b"".join(frame.encode() for frame in frames))
    assert violation(session).code == ErrorCode.PROTOCOL


def test_after_leave_nothing_is_executed_and_the_end_is_clean():
    session = joined(rank=2)
    id_ = session.send_command(b"last", results=True)
    session.send_leave()
    assert session.rank is None
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
    assert [type(event) for event in events] == [CommandAccepted, ResultRouted, CommandDone, PingReceived]
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
    assert session.rank is None
    assert session.data_to_send() == b""


# Receiving: answers


def test_who_and_ping_are_answered():
    session = joined()
    id_ = session.send_who(0, 5)
    rows = (MemberInfo(0, 1, 0, "ada", "127.0.0.1:1"),)
    session.send_ping(b"a")
    assert feed(session, Members(id_, 30, 7, rows), Pong(b"a")) == [
        MembersPage(id_, 30, 7, rows),
        PongReceived(b"a"),
    ]
    assert (session.members, session.seq) == (7, 30)


@pytest.mark.parametrize(
    "frame", [Pong(b"x"), Members(1, 12, 0, ()), Accepted(1, 12, 1, 0), Done(1, 0, 0, 0, 0, 0)]
)
def test_an_answer_to_nothing(frame):
    session = joined()
    session.receive_data(frame.encode())
    violation(session)


def test_a_quiet_command_hears_of_a_refusal_only():
    session = joined()
    id_ = session.send_command(b"x", quiet=True)
    assert session.waiting_commands == ()
    assert feed(session, Refused(id_, 1, "nobody")) == [RefusalReceived(id_, 1, "nobody")]
    session.receive_data(Refused(id_, 1, "nobody").encode())
    violation(session)


def test_a_quiet_command_with_results_is_not_accepted_but_done():
    session = joined()
    id_ = session.send_command(b"x", quiet=True, results=True)
    frames = (Routed(id_, 5, 3, Status.LEFT, b""), Done(id_, 0, 0, 0, 0, 1))
    assert [type(event) for event in feed(session, *frames)] == [ResultRouted, CommandDone]
    id_ = session.send_command(b"x", quiet=True, results=True)
    session.receive_data(Accepted(id_, 40, 1, 0).encode())
    violation(session)


OK, FAILED, PART = Status.OK, Status.FAILED, Status.PART


@pytest.mark.parametrize(
    "frames",
    [
        lambda id_: [Accepted(id_, 12, 2, 0), Accepted(id_, 13, 2, 0)],
        lambda id_: [Accepted(id_, 12, 2, 0), Refused(id_, 1, "no")],
        lambda id_: [Routed(id_, 5, 3, OK, b"")],
        lambda id_: [Done(id_, 0, 0, 0, 0, 0)],
        lambda id_: [Accepted(id_, 12, 1, 0), *[Routed(id_, 5, 3, OK, b"")] * 2],
        lambda id_: [Accepted(id_, 12, 2, 0), Routed(id_, 5, 3, OK, b""), Done(id_, 1, 0, 0, 0, 0)],
        lambda id_: [Accepted(id_, 12, 2, 0), Routed(id_, 5, 3, OK, b""), Done(id_, 2, 0, 0, 0, 0)],
        lambda id_: [Accepted(id_, 12, 1, 0), Routed(id_, 5, 3, OK, b""), Done(id_, 0, 1, 0, 0, 0)],
        lambda id_: [Accepted(id_, 12, 1, 0), Routed(id_, 5, 3, PART, b""), Done(id_, 1, 0, 0, 0, 0)],
        lambda id_: [
            Accepted(id_, 12, 1, 0),
            Routed(id_, 5, 3, FAILED, b""),
            *[Done(id_, 0, 1, 0, 0, 0)] * 2,
        ],
        lambda id_: [Refused(id_, 1, "no"), Refused(id_, 1, "no")],
        lambda id_: [Refused(id_, 1, "no"), Accepted(id_, 12, 1, 0)],
        lambda id_: [Refused(id_ + 1, 1, "never sent")],
        lambda id_: [Refused(id_ | SILENT_ID, 1, "never sent")],
    ],
    ids=[
        "accepted twice",
        "refused when accepted",
        "a result before accepted",
        "done before accepted",
        "one end too many",
        "done before its end",
        "done counts more",
        "done counts another way",
        "done counts a part",
        "done twice",
        "refused twice",
        "accepted when refused",
        "refused what was not sent",
        "refused what was not sent quietly",
    ],
)
def test_a_command_is_settled_once_and_with_the_right_counts(frames):
    session = joined()
    *right, wrong = frames(session.send_command(b"x", results=True))
    assert not any(isinstance(event, Ended) for event in feed(session, *right))
    session.receive_data(wrong.encode())
    assert violation(session).code == ErrorCode.PROTOCOL


@pytest.mark.parametrize(
    "frame", [lambda id_: Routed(id_, 5, 3, OK, b""), lambda id_: Done(id_, 0, 0, 0, 0, 0)]
)
@pytest.mark.parametrize("accepted", [False, True])
def test_results_that_nobody_asked_for(frame, accepted):
    session = joined()
    id_ = session.send_command(b"x")
    if accepted:
        feed(session, Accepted(id_, 12, 1, 0))
    session.receive_data(frame(id_).encode())
    violation(session)


def test_more_members_than_were_asked_for():
    session = joined()
    id_ = session.send_who(0, 1)
    row = MemberInfo(0, 1, 0, "", "")
    session.receive_data(Members(id_, 12, 2, (row, row)).encode())
    violation(session)


def test_an_id_that_waits_is_not_given_again():
    session = joined()
    first, second, who = session.send_command(b""), session.send_command(b""), session.send_who()
    feed(session, Accepted(second, 12, 1, 0))
    session._waiting._last_id = SILENT_ID - 2
    given_out = [session.send_command(b"") for _ in range(4)]
    assert given_out[:2] == [SILENT_ID - 1, second]
    assert not {first, who} & set(given_out)
    assert not any(id_ & SILENT_ID for id_ in given_out)


def test_what_nobody_waits_for_is_cut_to_what_fits():
    session = joined(max_payload=4)
    session.try_result(12, Status.FAILED, b"too long")
    assert session.data_to_send() == Result(12, Status.FAILED, b"too ").encode()
    session.receive_eof()
    session.try_result(13, Status.FAILED)
    assert session.data_to_send() == b""


class Settlement(RuleBasedStateMachine):
    """A server that keeps the rules, against a model; then one that breaks one of them, and is found out."""

    @initialize()
    def join(self) -> None:
        self.session = joined()
        self.seq = 100
        self.open: dict[int, dict[str, object]] = {}
        self.settled = 0
        self.broken = False

    def hear(self, *frames: object) -> list[object]:
        events = feed(self.session, *frames)
        assert not any(isinstance(event, Ended) for event in events), events
        return events

    @rule(results=st.booleans(), quiet=st.booleans())
    def send(self, results: bool, quiet: bool) -> None:
        id_ = self.session.send_command(b"x", results=results, quiet=quiet)
        assert id_ not in self.open
        if results or not quiet:
            self.open[id_] = {"results": results, "quiet": quiet, "left": None, "counts": [0] * 5, "all": 0}

    def some(self, data: st.DataObject, wanted) -> int | None:
        ids = [id_ for id_, one in self.open.items() if wanted(one)]
        return data.draw(st.sampled_from(ids)) if ids else None

    @rule(data=st.data(), executors=st.integers(1, 4), rejected=st.integers(0, 3))
    def accept(self, data: st.DataObject, executors: int, rejected: int) -> None:
        id_ = self.some(data, lambda one: one["left"] is None)
        if id_ is None:
            return
        one = self.open[id_]
        one["left"] = one["all"] = executors
        self.seq += 1
        if not one["quiet"]:
            assert self.hear(Accepted(id_, self.seq, executors, rejected)) == [
                CommandAccepted(id_, self.seq, executors, rejected)
            ]
        if not one["results"]:
            del self.open[id_]

    @rule(data=st.data(), code=st.integers(1, 6))
    def refuse(self, data: st.DataObject, code: int) -> None:
        id_ = self.some(data, lambda one: one["left"] is None)
        if id_ is not None:
            del self.open[id_]
            assert self.hear(Refused(id_, code, "no")) == [RefusalReceived(id_, code, "no")]

    @rule(data=st.data(), status=st.sampled_from(Status))
    def route(self, data: st.DataObject, status: Status) -> None:
        id_ = self.some(data, lambda one: one["left"])
        if id_ is None:
            return
        one = self.open[id_]
        assert self.hear(Routed(id_, 5, 3, status, b"out")) == [ResultRouted(id_, 5, 3, status, b"out")]
        if status is not Status.PART:
            one["left"] -= 1
            one["counts"][status] += 1

    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        id_ = self.some(data, lambda one: one["left"] == 0)
        if id_ is not None:
            counts = self.open.pop(id_)["counts"]
            assert self.hear(Done(id_, *counts)) == [CommandDone(id_, *counts)]
            self.settled += 1

    @precondition(lambda self: self.open)
    @rule(data=st.data(), how=st.sampled_from(["accept", "refuse", "early", "one more", "count", "stranger"]))
    def break_a_rule(self, data: st.DataObject, how: str) -> None:
        frame = self.wrong(data, how)
        if frame is None:
            return
        self.session.receive_data(frame.encode())
        violation(self.session)
        self.join()

    def wrong(self, data: st.DataObject, how: str) -> object | None:
        dispatched = self.some(data, lambda one: one["left"] is not None and not one["quiet"])
        running = self.some(data, lambda one: one["left"])
        match how:
            case "accept" if dispatched is not None:
                return Accepted(dispatched, self.seq, 1, 0)
            case "refuse" if dispatched is not None:
                return Refused(dispatched, 1, "no")
            case "early" if (
                id_ := self.some(data, lambda one: one["left"] is None and not one["quiet"])
            ) is not None:
                return data.draw(st.sampled_from([Routed(id_, 5, 3, 0, b""), Done(id_, 0, 0, 0, 0, 0)]))
            case "one more" if (
                id_ := self.some(data, lambda one: one["left"] == 0 and not one["quiet"])
            ) is not None:
                return Routed(id_, 5, 3, data.draw(st.sampled_from([0, 1, 2, 3, 4])), b"")
            case "count" if running is not None and not self.open[running]["quiet"]:
                counts = list(self.open[running]["counts"])
                counts[data.draw(st.integers(0, 4))] += data.draw(st.integers(0, 1))
                return Done(running, *counts)
            case "stranger":
                id_ = max(self.open) + 1
                return data.draw(
                    st.sampled_from([Accepted(id_, 1, 1, 0), Refused(id_, 1, ""), Routed(id_, 1, 1, 0, b"")])
                )
        return None

    @invariant()
    def the_same_commands_wait(self) -> None:
        if hasattr(self, "open"):
            assert set(self.session.waiting_commands) == set(self.open)


TestSettlement = Settlement.TestCase


# A hostile server


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
    st.builds(Accepted, st.integers(0, 4), U32, U32, U32),
    st.builds(Refused, st.integers(0, 4), st.integers(0, 9), st.text(max_size=5)),
    st.builds(Routed, st.integers(0, 4), U32, U32, st.integers(0, 17), st.binary(max_size=9)),
    st.builds(Done, st.integers(0, 4), *[st.integers(0, 2)] * 5),
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
    assert [type(event) for event in feed(session, frame)] == [ExecuteReceived]
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
    assert feed(session, Ping(b"again")) == [PingReceived(b"again")]
    assert session.data_to_send() == Pong(b"again").encode()


@pytest.mark.parametrize(
    "frame",
    [
        b"\x88" + bytes(16) + b"\xff\xff",
        b"\x88" + bytes(16) + b"\0\1" + bytes(16) + b"\xff",
        b"\x81\1" + bytes(46) + b"\xff",
        b"\x89\0",
        b"\x82" + bytes(16),
        b"\x87" + bytes(23),
        b"\x87" + bytes(25),
        b"\x06" + bytes(65),
        b"\x85" + bytes(6) + b"\xff\xfe",
    ],
)
def test_inner_lengths_and_bodies_that_do_not_fit(frame):
    session = joined()
    session.send_who()
    session.receive_data(len(frame).to_bytes(4) + frame)
    assert violation(session).code == ErrorCode.PROTOCOL


@pytest.mark.parametrize("type_", [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x08, 0x09, 0x0A, 0x80, 0x8A, 0xFF])
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


def test_frames_in_front_of_a_broken_one_count():
    session = joined()
    session.receive_data(Execute(12, 0, 0, 0, b"x").encode() + bytes(4) + Execute(13, 0, 0, 0, b"y").encode())
    first, last = session.events()
    assert first == ExecuteReceived(12, 0, 2, False, 0, b"x")
    assert isinstance(last, Ended)
