"""The event log for people: joins, departures, the ranking, commands; bounded, escaped, cheap when unread."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.codes import Cause, RefusedCode, Target
from rankmux.core.room.ranks import Ranks
from rankmux.core.room.turn import Departed, Joined
from rankmux.server.connections.closes import Close, CloseReason
from rankmux.server.event_log import EventLog, excerpt

LOGGER = "rankmux.server"


@pytest.fixture
def ranks() -> Ranks:
    ranks = Ranks()
    for ticket, name in enumerate(["ada", "", "cy\x1b"], 1):
        ranks.append(ticket, ticket, name, f"127.0.0.1:{ticket}")
    return ranks


@pytest.fixture
def event_log(ranks: Ranks, caplog: pytest.LogCaptureFixture) -> EventLog:
    caplog.set_level(logging.INFO, LOGGER)
    event_log = EventLog(ranks, 3)
    event_log.tick(100.0)
    return event_log


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The output since the last call."""
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def test_joins(event_log, caplog):
    event_log.placed([Joined(7, 21, 0, 1, "ada", 1), Joined(8, 22, 1, 2, "", 2)], [], {})
    first, second = lines(caplog)
    assert [word in first for word in ("ada", "rank 0", "ticket 21")] == [True] * 3
    assert [word in second for word in ("(no name)", "rank 1", "ticket 22")] == [True] * 3


def test_departures_with_their_own_reasons_then_the_ranking(event_log, caplog):
    gone = [Departed(1, 5, 9, "bob", Cause.LEFT, "a:1"), Departed(3, 8, 9, "dan", Cause.LOST, "a:1")]
    event_log.departed(gone, {8: "reset", 5: "left"})
    event_log.ranking()
    bob, dan, ranking = lines(caplog)
    assert ("bob" in bob, "rank 1" in bob, bob.endswith("left")) == (True, True, True)
    assert ("dan" in dan, "rank 3" in dan, dan.endswith("reset")) == (True, True, True)
    assert ranking.startswith("ranking: 0 ada, 1 (no name), 2 cy")
    event_log.departed([], {})
    assert lines(caplog) == []


def test_departures_without_a_connection(event_log, caplog):
    gone = [Departed(0, 1, -1, "ada", Cause.LOST, ""), Departed(1, 2, -1, "", Cause.EVICTED, "")]
    event_log.departed([*gone, Departed(2, 3, 5, "yields", Cause.YIELDED, "")], {})
    assert lines(caplog) == [
        "left: ada had rank 0: its keep ran out",
        "kicked: an operator has thrown out (no name), rank 1, ticket 2",
    ]


def test_places_are_told_in_the_order_of_their_seqs(event_log, caplog):
    back, taker = (Joined(handle, handle, 0, seq, "ada", 3, 5, True) for handle, seq in ((7, 4), (8, 5)))
    yielder, newcomer = Joined(9, 22, 1, 6, "bob", 2), Joined(10, 23, 2, 7, "", 3)
    event_log.placed([back, newcomer, taker], [(2, yielder)], {8: "10.0.0.1:5"})
    assert lines(caplog) == [
        "returned: ada has rank 0, ticket 7",
        "taken over: ada has rank 0, ticket 8; its connection from 10.0.0.1:5 is closed",
        "yielded: bob has rank 1, ticket 22; its ticket was 2",
        "joined: (no name) has rank 2, ticket 23",
    ]


def test_a_command_to_named_members(event_log, caplog):
    event_log.command(0, Target.SET, 3, 17, 2, 1, b"go")
    assert lines(caplog) == ["command 17: rank 0 ada to 3 named: 2 bytes: 2 executors, 1 rejected"]


def test_payloads_are_not_logged_unless_asked_for(event_log, caplog):
    event_log.command(0, Target.ALL, 0, 17, 1, 0, b"secret")
    event_log.command(0, Target.ALL, 0, 18, 1, 0, b"!")
    event_log.limit(3, 3)
    event_log.command(0, Target.ALL, 0, 19, 1, 0, b"secret")
    facts = [(record.facts["bytes"], record.facts["payload"]) for record in caplog.records]  # type: ignore[attr-defined]
    assert lines(caplog) == [
        "command 17: rank 0 ada to all: 6 bytes: 1 executor, 0 rejected",
        "command 18: rank 0 ada to all: 1 byte: 1 executor, 0 rejected",
        'command 19: rank 0 ada to all: "sec…": 1 executor, 0 rejected',
    ]
    assert facts == [(6, ""), (1, ""), (6, "sec…")]


def test_a_long_ranking_is_a_number(ranks, caplog):
    caplog.set_level(logging.INFO, LOGGER)
    for members, shown in ((20, "19 x19"), (21, "21 members")):
        while len(ranks) < members:
            ranks.append(1000 + len(ranks), 1, f"x{len(ranks)}", "")
        EventLog(ranks, 3).ranking()
        assert lines(caplog)[-1].endswith(shown)
    ranks.remove(range(len(ranks)))
    EventLog(ranks, 3).ranking()
    assert lines(caplog)[-1] == "ranking: no members"


def test_commands(event_log, caplog):
    event_log.limit(3, 128)
    event_log.command(0, Target.ONE, 2, 17, 1, 0, b"debug")
    event_log.command(1, Target.ALL, 0, 18, 1, 1, b"\x00\n\xff")
    one, everybody = lines(caplog)
    assert [word in one for word in ("17", "rank 0 ada", "rank 2", "debug", "1 executor,", "0 rejected")] == [
        True
    ] * 6
    assert [word in everybody for word in ("18", "all", r"\x00\n\xff", "1 rejected")] == [True] * 4


def test_refusals_and_who_was_no_member(event_log, caplog):
    event_log.refused([(1, RefusedCode.NOT_LOWER), (2, RefusedCode.BUSY), (22, RefusedCode.NO_TARGET)])
    assert lines(caplog) == [
        "refused: a command of ada, ticket 1: NOT_LOWER",
        "refused: a command of (no name), ticket 2: BUSY",
        "refused: a command of ticket 22, which has left: NO_TARGET",
    ]
    event_log.closed(Close(1.0, CloseReason.AUTH, "the token\n", "", "127.0.0.1:5", 0))
    (line,) = lines(caplog)
    assert ("127.0.0.1:5" in line, "auth" in line, r"the token\n" in line) == (True,) * 3
    event_log.closed(Close(1.0, CloseReason.RESET, "", "ada", "127.0.0.1:5", 21))
    assert lines(caplog) == [], "members are told of when they depart"


def test_so_many_lines_of_a_kind_in_a_second(event_log, caplog):
    for now in (100.1, 100.2):
        event_log.tick(now)
        event_log.placed([Joined(1, 1, 0, 1, "ada", 1)] * 4, [], {})
        event_log.refused([(1, RefusedCode.BUSY)])
    assert sum("joined" in line for line in lines(caplog)) == 3
    assert not event_log.left("joined")
    assert event_log.left("refused")
    event_log.skip("command", 7)
    event_log.tick(101.0)
    told = lines(caplog)
    assert sorted(told) == ["command: 4 more in the last second", "joined: 5 more in the last second"]
    assert event_log.left("joined")
    event_log.placed([Joined(1, 1, 0, 1, "ada", 1)], [], {})
    assert len(lines(caplog)) == 1
    event_log.tick(102.0)
    assert lines(caplog) == []


def test_nobody_listens(ranks, caplog):
    caplog.set_level(logging.WARNING, LOGGER)
    event_log = EventLog(ranks, 3)
    event_log.tick(1.0)
    assert not event_log.listens
    event_log.closed(Close(1.0, CloseReason.AUTH, "", "", "", 0))
    assert lines(caplog) == []
    caplog.set_level(logging.INFO, LOGGER)
    event_log.tick(2.0)
    assert event_log.listens


@given(st.binary(max_size=300) | st.text(max_size=300), st.integers(1, 200))
def test_an_excerpt_is_fit_for_a_line(data, limit):
    shown = excerpt(data, limit)
    assert shown.isprintable()
    assert len(shown) <= limit + 1
    if len(shown) > limit:
        assert shown.endswith("…")


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain", "plain"),
        ("Zoë", "Zoë"),
        ("a\x1b[31mb\r\n", r"a\x1b[31mb\r\n"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("\ud800", r"\ud800"),
        ("\u202e", r"\u202e"),
        (b"x" * 128, "x" * 128),
        (b"x" * 129, "x" * 128 + "…"),
        (b"\n" * 100, r"\n" * 64 + "…"),
        (b"", ""),
    ],
)
def test_excerpts(data, shown):
    assert excerpt(data) == shown


def test_the_length_of_an_excerpt_is_a_setting(ranks, caplog):
    caplog.set_level(logging.INFO, LOGGER)
    event_log = EventLog(ranks, 3, 5)
    event_log.command(0, Target.NEXT, 0, 1, 1, 0, b"123456789")
    assert '"12345…"' in lines(caplog)[0]
