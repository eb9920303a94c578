"""Answers to a client's requests: each command is settled once, and the pending requests are bounded."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rankmux.codes import ErrorCode, Status
from rankmux.core.client.events import (
    CommandAccepted,
    CommandDone,
    Ended,
    MembersPage,
    RefusalReceived,
    ResultsRouted,
)
from rankmux.core.client.pending import SILENT_ID
from rankmux.core.client.results import RoutedResult
from rankmux.errors import StateError
from rankmux.wire import Accepted, Done, MemberInfo, Members, Ping, Pong, Refused, Result, Routed

from ...support.client_sessions import feed, joined, routed, snapshot, violation


def test_open_commands_are_bounded():
    session = joined(pending_limit=3)
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
    assert len(session._pending._pings) == 2
    with pytest.raises(StateError):
        session.send_ping(b"one more")
    pongs = [Pong(b"before"), *[Pong(b"")] * 10_000]
    assert feed(session, *pongs) == []
    assert len(session._pending._pings) == 0
    session.send_ping(b"after")
    session.receive_data(Pong(b"").encode())
    violation(session)


def test_who_and_ping_are_answered():
    session = joined()
    id_ = session.send_who(0, 5)
    rows = (MemberInfo(0, 1, 0, "ada", "127.0.0.1:1"),)
    session.send_ping(b"a")
    assert feed(session, Members(id_, 30, 7, rows), Pong(b"a")) == [MembersPage(id_, 30, 7, rows)]
    assert (session.seat.member_count, session.seat.seq) == (7, 30)


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
    assert session._pending._commands == {}
    assert feed(session, Refused(id_, 1, "nobody")) == [RefusalReceived(id_, 1, "nobody")]
    session.receive_data(Refused(id_, 1, "nobody").encode())
    violation(session)


def test_a_quiet_command_with_results_is_not_accepted_but_done():
    session = joined()
    id_ = session.send_command(b"x", quiet=True, results=True)
    frames = (Routed(id_, 5, 3, Status.LEFT, b""), Done(id_, 0, 0, 0, 0, 1))
    assert [type(event) for event in feed(session, *frames)] == [ResultsRouted, CommandDone]
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
    session._pending._last_id = SILENT_ID - 2
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
    """A server that keeps the rules, against a model; then one that breaks a rule, which is detected."""

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
            self.open[id_] = {"results": results, "quiet": quiet, "left": None, "counts": [0] * 6, "all": 0}

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

    @rule(data=st.data(), code=st.integers(1, 8))
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
        assert self.hear(Routed(id_, 5, 3, status, b"out")) == [
            routed(id_, RoutedResult(3, 5, status, b"out"))
        ]
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
                return Routed(id_, 5, 3, data.draw(st.sampled_from([0, 1, 2, 3, 4, 5])), b"")
            case "count" if running is not None and not self.open[running]["quiet"]:
                counts = list(self.open[running]["counts"])
                counts[data.draw(st.integers(0, 5))] += data.draw(st.integers(0, 1))
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
            assert set(self.session._pending._commands) == set(self.open)


TestSettlement = Settlement.TestCase


def test_what_is_owed_is_never_more_than_what_comes():
    session = joined()
    quiet, command = (
        session.send_command(b"", results=True, quiet=True),
        session.send_command(b"", results=True),
    )
    frames = [
        *(Routed(command, 4 + n, 4 + n, Status.PART, b"") for n in range(2)),
        *(Routed(command, 4 + n, 4 + n, Status.OK, bytes(n)) for n in range(2)),
    ]
    assert session.owed_size(command) == session.owed_size(quiet) == session.owed_size(99) == 0
    feed(session, Accepted(command, 12, 2, 0))
    stream = b"".join(frame.encode() for frame in frames)
    for at in range(len(stream)):
        assert session.owed_size(command) <= len(stream) - at
        assert session.owed_size(command) > 0 or len(stream) - at <= len(frames[-1].encode())
        session.receive_data(stream[at : at + 1])
    assert session.owed_size(command) == session.owed_size(quiet) == 0
    feed(session, Done(command, 2, 0, 0, 0, 0, 0))
    assert session.owed_size(command) == 0
