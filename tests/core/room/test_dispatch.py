"""The output of both twins for a turn's commands and departures, compared with the model of the room."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.codes import Cause, CommandFlag, RefusedCode, Target
from rankmux.core.room.deliveries import RANK_FRAME_BYTES, Deliveries
from rankmux.wire import Accepted, Command, Execute, Rank, Refused, SetBaton

from ...support.history import parse
from ...support.laid import joined
from ...support.room_model import Member, RoomModel, Waiting
from ...support.strategies import U32, to_set

PAYLOADS = st.binary(max_size=5)
FLAGS = st.sampled_from([0, 1, 1, 2, 3, 5, 7])


def commands_to(tickets: list[int]) -> st.SearchStrategy[Command | SetBaton]:
    """Any command or baton; a SET names members and tickets beside theirs."""
    named = st.sampled_from([0, 2**64 - 1, *tickets, *(ticket - 1 for ticket in tickets)])
    batons = st.builds(SetBaton, st.integers(0, 3), PAYLOADS)
    sets = st.builds(to_set, st.integers(0, 3), st.sets(named, min_size=1, max_size=5), FLAGS, U32, PAYLOADS)
    others = st.builds(
        lambda id_, to, arg, flags, ttl_ms, payload: Command(
            id_, to, arg if to == Target.ONE else 0, flags, ttl_ms, payload
        ),
        st.integers(0, 3),
        st.sampled_from([Target.ALL, Target.ONE, Target.NEXT, Target.LEAST]),
        st.integers(0, 8),
        FLAGS,
        U32,
        PAYLOADS,
    )
    return others | sets | batons


class Dispatched:
    """`dispatch` called as the room calls it."""

    def __init__(
        self,
        framing: ModuleType,
        tickets: list[int],
        loads: list[int],
        commands: list[tuple[int, Command | SetBaton]],
        waiting: Sequence[Waiting] = (),
        max_payload: int = 3,
        waiting_max: int = 2,
        waiting_total_max: int = 1000,
        away: Sequence[int] = (),
    ) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.loads = array("I", loads)
        self.ledger = framing.Ledger()
        self.deliveries = Deliveries()
        for w in waiting:
            ranks = array("I", sorted(w.ranks.values()))
            self.ledger.open(w.seq, w.sender, w.id, w.tied, array("Q", tickets), 0, 0, ranks)
        batch = framing.Batch(max_payload)
        for ticket, command in commands:
            octets = command.encode()
            assert batch.feed(ticket, octets) == (len(octets), [])
        self.seq, self.opened, self.refused, self.batons, self.dropped = framing.dispatch(
            batch,
            array("Q", tickets),
            self.loads,
            array("I", away),
            self.ledger,
            self.deliveries,
            1000,
            waiting_max,
            waiting_total_max,
            60_000,
            lambda *args: self.told.append(args),
        )

    def owed(self, rank: int, ticket: int) -> list[Any]:
        """The frames for that rank in order, without the texts of refusals."""
        frames = parse(joined(self.deliveries, rank, ticket))
        return [f._replace(text="") if isinstance(f, Refused) else f for f in frames]


@given(data=st.data())
def test_dispatch_against_the_model(framing, data):
    tickets = data.draw(st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=7, unique=True).map(sorted))
    away = sorted(data.draw(st.just(()) | st.sets(st.integers(0, len(tickets) - 1))))
    senders = st.sampled_from([ticket for rank, ticket in enumerate(tickets) if rank not in away] or tickets)
    commands = data.draw(st.lists(st.tuples(senders, commands_to(tickets)), max_size=12))
    total = data.draw(st.sampled_from([5, 1000]))
    max_payload = data.draw(st.sampled_from([3, 40, 40]))
    model = RoomModel(10, max_payload, 2, 60_000, total)
    model.members = [Member(ticket, rank, "", "", rank in away) for rank, ticket in enumerate(tickets)]
    model.seq = 1000
    if len(tickets) > 2:  # a command is already pending
        last = len(tickets) - 1
        model.waiting = [Waiting(5, tickets[0], 1, 0.0, {tickets[r]: r for r in range(1, last)})]
    loads = [model.load(ticket) for ticket in tickets]
    model.owed = {ticket: [] for ticket in tickets}
    waiting = list(model.waiting)
    found = Dispatched(
        framing, tickets, loads, commands, waiting, max_payload, waiting_total_max=total, away=away
    )
    opened_before = len(model.waiting)
    for member in model.members:
        for sender, command in commands:
            if sender == member.ticket:
                model._command(0.0, sender, command)
    for rank, ticket in enumerate(tickets):
        kinds = (Execute, Accepted, Refused)
        expected = sorted(model.owed[ticket], key=lambda frame: kinds.index(type(frame)))
        if rank not in away:  # nothing is sent to absent members, although `owed` includes the shared frames
            assert found.owed(rank, ticket) == expected
    assert list(found.loads) == [model.load(ticket) for ticket in tickets]
    assert found.seq == model.seq
    assert found.refused == model.refused
    assert found.opened == [(w.seq, w.deadline_ms - 1) for w in model.waiting[opened_before:]]
    assert [(e[0], e[3], e[4], e[5]) for e in found.ledger.entries()] == [
        (w.seq, w.tied, tuple(w.ranks), tuple(w.ranks.values())) for w in model.waiting
    ]
    assert found.batons == model.batons
    assert sorted([told[3] for told in found.told] + [seq for seq, _, _ in found.batons]) == list(
        range(1001, model.seq + 1)
    )
    # the shared frames are stored once, and each rank's part is a prefix that ends with a frame
    steps = found.deliveries.steps
    assert [rank for rank, _ in steps] == sorted({rank for rank, _ in steps})
    assert [end for _, end in steps] == sorted({end for _, end in steps})
    assert not steps or steps[-1][1] == len(found.deliveries.executes)
    shared = parse(bytes(found.deliveries.executes))
    assert [frame.seq for frame in shared] == sorted(frame.seq for frame in shared)


def test_a_dispatch_has_the_watchers(framing):
    commands = [(20, Command(1, Target.ALL, 0, 0, 0, b"all")), (10, Command(2, Target.ONE, 2, 1, 0, b"one"))]
    found = Dispatched(framing, [10, 20, 30], [0, 0, 0], commands)
    assert found.told == [(0, Target.ONE, 2, 1001, 1, 0, b"one"), (1, Target.ALL, 0, 1002, 1, 1, b"all")]
    assert found.opened == [(1001, 60_000)]
    assert found.deliveries.executions == 2


def test_a_set_goes_to_those_named_that_are_present_and_below(framing):
    """Rank 1 of five names all members, and two tickets that hold no seat; rank 3 is absent."""
    command = to_set(7, [5, 10, 20, 30, 40, 50, 60], 5, 0, b"all")
    tickets = [10, 20, 30, 40, 50]
    found = Dispatched(framing, tickets, [0] * 5, [(20, command)], max_payload=100, away=[3])
    frame = Execute(1001, 1, 1, 60_000, b"all")
    assert [found.owed(rank, ticket) for rank, ticket in enumerate(tickets)] == [
        [],
        [Accepted(7, 1001, executors=2, rejected=2, absent=3)],
        [frame],
        [],
        [frame],
    ]
    assert list(found.loads) == [0, 0, 1, 0, 1]
    assert found.told == [(1, Target.SET, 7, 1001, 2, 2, b"all")]
    assert found.ledger.entries() == [(1001, 20, 7, True, (30, 50), (2, 4), bytes(2), (0,) * 6)]
    first, second = (found.deliveries.directed[rank][0][1] for rank in (2, 4))
    assert first is second, "the bytes are shared"


@pytest.mark.parametrize(
    ("named", "code", "words"),
    [
        ([10, 40, 60], RefusedCode.NOT_LOWER, "below you"),
        ([20], RefusedCode.NOT_LOWER, "below you"),
        ([40, 60], RefusedCode.ABSENT, "absent"),
        ([5, 60], RefusedCode.NO_TARGET, "holds a seat"),
        (range(1, 14), RefusedCode.TOO_BIG, "104 bytes"),
    ],
)
def test_a_set_without_executors(framing, named, code, words):
    """Rank 0 is absent too: it counts as rejected, for it is not below."""
    found = Dispatched(
        framing, [10, 20, 30, 40], [0] * 4, [(20, to_set(7, named))], max_payload=100, away=[0, 3]
    )
    (refused,) = parse(bytes(found.deliveries.refused[20]))
    assert (refused.id, refused.code, found.refused) == (7, code, [(20, code)])
    assert words in refused.text


def test_a_baton_is_taken_from_rank_0_at_its_place(framing):
    """It takes a seq between those of the commands; it is not refused for its id, nor for want of a junior."""
    commands = [
        (20, SetBaton(1, b"me")),
        (10, Command(1, Target.ALL, 0, 1, 0, b"")),
        (10, SetBaton(1, b"old")),
        (10, SetBaton(1, b"")),
        (10, SetBaton(2, b"long")),
        (10, Command(2, Target.ALL, 0, 0, 0, b"")),
    ]
    found = Dispatched(framing, [10, 20], [0, 0], commands, away=[])
    assert found.batons == [(1002, 10, b"old"), (1003, 10, b"")]
    assert [(told[0], told[3]) for told in found.told] == [(0, 1001), (0, 1004)], "a baton is not told of"
    answers = [Accepted(1, 1001, 1, 0, 0), Accepted(1, 1002, 0, 0, 0), Accepted(1, 1003, 0, 0, 0)]
    assert parse(bytes(found.deliveries.accepted[10])) == [*answers, Accepted(2, 1004, 1, 0, 0)]
    assert found.refused == [(10, RefusedCode.TOO_BIG), (20, RefusedCode.NOT_FIRST)]
    (refused,) = parse(bytes(found.deliveries.refused[20]))
    assert (refused.id, refused.code) == (1, RefusedCode.NOT_FIRST)
    alone = Dispatched(framing, [10], [0], [(10, SetBaton(1, b"me"))])
    assert alone.batons == [(1001, 10, b"me")]


def test_the_absent_are_passed_over(framing):
    """Ranks 1 and 3 of five are absent: ALL counts them, LEAST ignores them, ONE and NEXT are refused."""
    tickets, loads = [10, 20, 30, 40, 50], [0, 0, 5, 0, 4]
    commands = [
        Command(1, Target.ALL, 0, 0, 0, b""),
        Command(2, Target.LEAST, 0, 0, 0, b""),
        Command(3, Target.ONE, 3, 0, 0, b""),
        Command(4, Target.NEXT, 0, 0, 0, b""),
    ]
    found = Dispatched(framing, tickets, loads, [(10, command) for command in commands], away=[1, 3])
    answers = parse(bytes(found.deliveries.accepted[10]))
    assert answers == [Accepted(1, 1001, 2, 0, 2), Accepted(2, 1002, 1, 0, 0)]
    assert found.refused == [(10, RefusedCode.ABSENT)] * 2
    assert set(found.deliveries.directed) == {4}


def test_the_least_of_loads(framing):
    for loads, rank in [
        ([0, 3, 2, 2, 5], 2),
        ([0, 0, 0, 0, 0], 1),
        ([9, 1, 1, 1, 0], 4),
        ([0, 4_000_000_000, 4_000_000_000, 4_294_967_295, 4_000_000_001], 1),
    ]:
        found = Dispatched(framing, [1, 2, 3, 4, 5], loads, [(1, Command(1, Target.LEAST, 0, 0, 0, b""))])
        assert [found.deliveries.directed[rank][0][0], len(found.deliveries.directed)] == [0, 1]
        assert list(found.loads) == loads, "no result is wanted, so it is no load"


def test_reasons_of_refusals(framing):
    members = [1, 2, 3]
    for command, code, words in [
        (Command(9, Target.ALL, 0, 0, 0, b"abcd"), RefusedCode.TOO_BIG, "4 bytes, at most 3"),
        (Command(9, Target.ONE, 7, 0, 0, b""), RefusedCode.NO_SUCH_RANK, "no rank 7, the last one is 2"),
        (Command(9, Target.ONE, 1, 0, 0, b""), RefusedCode.NOT_LOWER, "rank 1 is not below you"),
    ]:
        found = Dispatched(framing, members, [0, 0, 0], [(2, command)])
        (refused,) = parse(bytes(found.deliveries.refused[2]))
        assert (refused.id, refused.code) == (9, code)
        assert words in refused.text
    waiting = [Waiting(5, 1, 1, 0.0, {2: 1}), Waiting(6, 1, 2, 0.0, {2: 1})]
    for id_, waiting_max, total, code, words in [
        (2, 2, 1000, RefusedCode.DUPLICATE, "id 2 waits"),
        (3, 2, 1000, RefusedCode.BUSY, "2 commands of yours"),
        (3, 3, 3, RefusedCode.BUSY, "3 "),
    ]:
        command = Command(id_, Target.ALL, 0, 1, 0, b"")
        found = Dispatched(framing, members, [0, 2, 0], [(1, command)], waiting, 3, waiting_max, total)
        (refused,) = parse(bytes(found.deliveries.refused[1]))
        assert (refused.id, refused.code) == (id_, code)
        assert words in refused.text


@given(data=st.data())
def test_rank_frames_against_the_model(framing, data):
    members = data.draw(st.integers(1, 40))
    departed = sorted(data.draw(st.sets(st.integers(0, members - 1), min_size=1)))
    causes = data.draw(st.lists(st.sampled_from(Cause), min_size=len(departed), max_size=len(departed)))
    survivors = members - len(departed)
    octets = bytes(framing.rank_frames(departed, causes, survivors, 2**40))
    expected = []
    for rank in range(members):
        ahead = [cause for gone, cause in zip(departed, causes, strict=True) if gone < rank]
        if ahead and rank not in departed:
            expected.append(Rank(2**40, rank - len(ahead), survivors, ahead[-1]))
    assert parse(octets) == expected
    assert len(octets) == RANK_FRAME_BYTES * len(expected)


@pytest.mark.parametrize("members", [1, 2, 3, 6])
def test_rank_frames_for_every_set_of_departures(framing, members):
    for bits in range(1, 1 << members):
        gone = [rank for rank in range(members) if bits >> rank & 1]
        frames = parse(bytes(framing.rank_frames(gone, [Cause.LOST] * len(gone), members - len(gone), 7)))
        stay = [rank for rank in range(members) if rank not in gone]
        moved = [new for new, old in enumerate(stay) if new != old]
        assert [frame.rank for frame in frames] == moved


def test_no_departures_no_rank_frames(framing):
    assert framing.rank_frames([], [], 3, 7) == b""


def test_loads_count_results_only(framing):
    flags = [0, CommandFlag.RESULTS, CommandFlag.QUIET, CommandFlag.QUIET | CommandFlag.RESULTS]
    commands = [(1, Command(i, Target.ALL, 0, int(flag), 0, b"")) for i, flag in enumerate(flags)]
    found = Dispatched(framing, [1, 2, 3], [0, 0, 0], commands)
    assert list(found.loads) == [0, 2, 2]
    assert [frame.id for frame in parse(bytes(found.deliveries.accepted[1]))] == [0, 1]
