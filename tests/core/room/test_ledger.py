"""Both twins' ledgers against a model: each executor has one final result, and loads count outstanding results."""

from __future__ import annotations

import time
import tracemalloc
from array import array
from collections import Counter, deque
from dataclasses import dataclass, field
from types import ModuleType

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from rankmux.codes import Status
from rankmux.wire import Done, Frame, Result, Routed

from ...support.history import parse

ENDS = st.sampled_from([Status.OK, Status.FAILED, Status.REJECTED, Status.PART])


@dataclass
class Waiting:
    """A command of `sender`; its executors' ranks at dispatch, their final results, and those not reported yet."""

    seq: int
    sender: int
    id: int
    ranks: dict[int, int]
    tied: bool = False
    ended: dict[int, Status] = field(default_factory=dict)
    untold: dict[int, Status] = field(default_factory=dict)

    def owing(self) -> list[int]:
        return [ticket for ticket in self.ranks if ticket not in self.ended and ticket not in self.untold]


class LedgerMachine(RuleBasedStateMachine):
    """Members come and go as tickets in a list; the model answers every question by a scan of all commands."""

    framing: ModuleType

    def __init__(self) -> None:
        super().__init__()
        self.ledger = self.framing.Ledger()
        self.members = list(range(1, 7))
        self.loads = array("I", bytes(4 * len(self.members)))
        self.waiting: list[Waiting] = []
        self.finished: list[Waiting] = []
        self.seq = 100

    def find(self, seq: int) -> Waiting | None:
        return next((w for w in self.waiting if w.seq == seq), None)

    def end(self, waiting: Waiting, ticket: int, status: Status, payload: bytes = b"") -> tuple[int, Routed]:
        """The sender, and the frames that it receives."""
        if status != Status.PART:
            assert waiting.ended.setdefault(ticket, status) is status
            if len(waiting.ended) == len(waiting.ranks):
                self.waiting.remove(waiting)
                self.finished.append(waiting)
        return waiting.sender, Routed(waiting.id, ticket, waiting.ranks[ticket], status, payload)

    def check(self, routed: dict[int, bytearray], expected: list[tuple[int, Frame]]) -> None:
        by_sender: dict[int, list[Frame]] = {}
        for sender, frame in expected:
            by_sender.setdefault(sender, []).append(frame)
        assert {sender: parse(bytes(octets)) for sender, octets in routed.items()} == by_sender
        owed = Counter(t for w in self.waiting for t in w.owing())
        assert list(self.loads) == [owed[ticket] for ticket in self.members]
        assert self.ledger.owed == sum(owed.values()) + sum(len(w.untold) for w in self.waiting)
        for slow in (set(), set(self.members[::2])):
            news = any(w.untold and w.sender not in slow for w in self.waiting)
            assert self.ledger.has_news(slow) == news
        assert len(self.ledger) == len(self.waiting)
        for waiting in self.waiting:
            assert waiting.seq in self.ledger
            assert self.ledger.waits(waiting.sender, waiting.id)
            left = len(waiting.ranks) - len(waiting.ended)
            assert self.ledger.owed_to(waiting.sender, waiting.id) == left
        for waiting in self.finished:
            assert waiting.seq not in self.ledger
        counts = Counter(w.sender for w in self.waiting)
        for sender in self.members:
            assert self.ledger.count(sender) == counts[sender]
            assert not self.ledger.waits(sender, 99)
            assert self.ledger.owed_to(sender, 99) == 0

    @rule()
    def join(self):
        self.members.append(max(self.members, default=self.seq) + 1)
        self.loads.append(0)

    @precondition(lambda self: len(self.members) > 1)
    @rule(
        sender=st.integers(0, 9),
        id_=st.integers(0, 3),
        first=st.integers(0, 9),
        size=st.integers(1, 9),
        tied=st.booleans(),
        chosen=st.none() | st.sets(st.integers(0, 9)),
    )
    def open(self, sender, id_, first, size, tied, chosen):
        """To a range of ranks, or to some of that range by name."""
        sender %= len(self.members) - 1
        ticket = self.members[sender]
        if any((w.sender, w.id) == (ticket, id_) for w in self.waiting):
            assert self.ledger.waits(ticket, id_)
            return
        first = min(sender + 1 + first, len(self.members) - 1)
        last = min(first + size, len(self.members))
        self.seq += 1
        ranks = range(first, last)
        named = None
        if chosen is not None:
            ranks = [rank for rank in ranks if rank in chosen] or [first]
            named = array("I", ranks)
        self.ledger.open(self.seq, ticket, id_, tied, array("Q", self.members), first, last, named)
        for rank in ranks:
            self.loads[rank] += 1
        self.waiting.append(Waiting(self.seq, ticket, id_, {self.members[r]: r for r in ranks}, tied))
        self.check({}, [])

    @precondition(lambda self: self.members)
    @rule(
        results=st.lists(
            st.tuples(st.integers(0, 9), st.integers(0, 5), ENDS, st.binary(max_size=2)), max_size=5
        )
    )
    def settle(self, results):
        batch = self.framing.Batch(100)
        expected, dropped = [], 0
        for member, back, status, payload in results:
            ticket, seq = self.members[member % len(self.members)], self.seq - back
            octets = Result(seq, status, payload).encode()
            assert batch.feed(ticket, octets) == (len(octets), [])
            waiting = self.find(seq)
            if waiting is None or ticket not in waiting.owing():
                dropped += 1
            else:
                expected.append(self.end(waiting, ticket, status, payload))
        routed: dict[int, bytearray] = {}
        assert self.ledger.settle(batch, array("Q", self.members), self.loads, routed) == dropped
        self.check(routed, expected)

    @rule(backs=st.lists(st.integers(0, 5), unique=True), most=st.integers(0, 6))
    def expire(self, backs, most):
        """In the order given, until as many have expired; a command without outstanding results counts as one."""
        seqs = deque(self.seq - back for back in backs)
        expected, count = deque(seqs), 0
        while expected and count < most:
            waiting = self.find(expected.popleft())
            owing = waiting.owing() if waiting else []
            if waiting:
                waiting.untold.update(dict.fromkeys(owing, Status.EXPIRED))
            count += len(owing) or 1
        assert self.ledger.expire(seqs, most, array("Q", self.members), self.loads) == count
        assert seqs == expected
        self.check({}, [])

    @rule(member=st.integers(0, 9), id_=st.integers(0, 3))
    def cancel(self, member, id_):
        """The present ranks of the executors without a final result, which must stop."""
        sender = self.members[member % len(self.members)] if self.members else 1
        waiting = next((w for w in self.waiting if (w.sender, w.id) == (sender, id_)), None)
        owing = waiting.owing() if waiting else []
        found = self.ledger.cancel(sender, id_, array("Q", self.members), self.loads)
        assert found == (waiting.seq if waiting else 0, self.ranks_of(owing))
        if waiting:
            waiting.untold.update(dict.fromkeys(owing, Status.CANCELLED))
        self.check({}, [])

    def ranks_of(self, tickets: list[int]) -> array[int]:
        return array("I", [self.members.index(ticket) for ticket in tickets])

    @rule(slow=st.sets(st.integers(0, 9)), most=st.integers(0, 9), most_each=st.integers(1, 4))
    def tell(self, slow, most, most_each):
        """The most senior sender's results first, its commands in order, no more than the bounds allow."""
        tickets = {self.members[index] for index in slow if index < len(self.members)}
        expected: list[tuple[int, Frame]] = []
        for sender in self.members:
            told = 0
            for waiting in [w for w in self.waiting if w.sender == sender and sender not in tickets]:
                for ticket in [t for t in waiting.ranks if t in waiting.untold]:
                    if told < most_each and len(expected) < most:
                        expected.append(self.end(waiting, ticket, waiting.untold.pop(ticket)))
                        told += 1
        routed: dict[int, bytearray] = {}
        assert self.ledger.tell(frozenset(tickets), most, most_each, routed) == len(expected)
        self.check(routed, expected)

    @rule()
    def restore(self):
        """A ledger restored from the entries of the old one replaces it."""
        self.finish()  # settled commands have no entry
        other = self.framing.Ledger()
        for entry in self.ledger.entries():
            other.restore(*entry)
        assert other.entries() == self.ledger.entries()
        self.ledger = other
        self.check({}, [])

    @rule(indexes=st.sets(st.integers(0, 9), min_size=1, max_size=4))
    def depart(self, indexes):
        """As in the room: a departing sender's pending commands are dropped, then the results that it owes are LEFT.

        Executors of its tied commands must stop.
        """
        gone = [ticket for index, ticket in enumerate(self.members) if index in indexes]
        for ticket in gone:
            own = [(w.seq, w.owing()) for w in self.waiting if w.sender == ticket and w.tied]
            stopped = self.ledger.forget(ticket, array("Q", self.members), self.loads)
            assert stopped == [(seq, self.ranks_of(owing)) for seq, owing in own if owing]
            self.waiting = [w for w in self.waiting if w.sender != ticket]
        self.check({}, [])
        owing = [
            (waiting, ticket) for waiting in self.waiting for ticket in gone if ticket in waiting.owing()
        ]
        self.ledger.leave(gone, len(owing))
        for waiting, ticket in owing:
            waiting.untold[ticket] = Status.LEFT
        for ticket in gone:
            index = self.members.index(ticket)
            del self.members[index], self.loads[index]
        self.check({}, [])

    @rule()
    def finish(self):
        done: dict[int, bytearray] = {}
        assert self.ledger.finish(done) == len(self.finished)
        expected: dict[int, list[Frame]] = {}
        for waiting in sorted(self.finished, key=lambda waiting: waiting.seq):
            counts = Counter(waiting.ended.values())
            frame = Done(waiting.id, *(counts[Status(status)] for status in range(6)))
            expected.setdefault(waiting.sender, []).append(frame)
        self.finished = []
        assert {sender: parse(bytes(octets)) for sender, octets in done.items()} == expected

    def teardown(self):
        """With every member gone no result is outstanding."""
        self.depart(set(range(len(self.members))))
        self.finish()
        assert (len(self.ledger), self.ledger.owed) == (0, 0)


def test_against_a_model(framing):
    machine = type("Machine", (LedgerMachine,), {"framing": framing})
    run_state_machine_as_test(machine, settings=settings(stateful_step_count=40))


@pytest.fixture
def opened(framing):
    """A ledger where ranks 1 to 3 (tickets 20, 30, 40) owe results for command 7, id 5, of ticket 10."""
    ledger = framing.Ledger()
    tickets = array("Q", [10, 20, 30, 40])
    ledger.open(7, 10, 5, False, tickets[:], 1, 4)
    return ledger, tickets, array("I", [0, 1, 1, 1])


def answer(framing, *results: tuple[int, Result]):
    batch = framing.Batch(100)
    for ticket, result in results:
        batch.feed(ticket, result.encode())
    return batch


def test_each_status_is_counted_in_its_place(framing, opened):
    ledger, tickets, loads = opened
    routed: dict[int, bytearray] = {}
    batch = answer(framing, (20, Result(7, Status.FAILED, b"")), (40, Result(7, Status.REJECTED, b"no")))
    assert ledger.settle(batch, tickets, loads, routed) == 0
    done: dict[int, bytearray] = {}
    assert ledger.finish(done) == 0, "one still owes"
    assert ledger.expire(deque([7]), 1, tickets, loads) == 1
    assert ledger.finish(done) == 0, "the sender is not told yet"
    assert list(loads) == [0, 0, 0, 0]
    assert ledger.tell((), 9, 9, routed) == 1
    assert ledger.finish(done) == 1
    assert parse(bytes(routed[10])) == [
        Routed(5, 20, 1, Status.FAILED, b""),
        Routed(5, 40, 3, Status.REJECTED, b"no"),
        Routed(5, 30, 2, Status.EXPIRED, b""),
    ]
    assert parse(bytes(done[10])) == [Done(5, 0, 1, 1, 1, 0, 0)]
    assert list(loads) == [0, 0, 0, 0]
    assert ledger.finish({}) == 0, "told once"


def test_double_unasked_and_late_answers_are_dropped(framing, opened):
    ledger, tickets, loads = opened
    ok = Result(7, Status.OK, b"")
    routed: dict[int, bytearray] = {}
    batch = answer(
        framing,
        (20, ok),
        (20, ok),
        (10, ok),
        (30, Result(8, Status.OK, b"")),
        (30, Result(0, Status.OK, b"")),
    )
    assert ledger.settle(batch, tickets, loads, routed) == 4
    assert parse(bytes(routed[10])) == [Routed(5, 20, 1, Status.OK, b"")]
    assert list(loads) == [0, 0, 1, 1]


def test_a_cancel_ends_the_outstanding_results(framing, opened):
    """Loads fall at once; a late answer is dropped; the sender gets CANCELLED for each, and then DONE."""
    ledger, tickets, loads = opened
    routed: dict[int, bytearray] = {}
    ledger.settle(answer(framing, (30, Result(7, Status.OK, b""))), tickets, loads, routed)
    assert ledger.cancel(10, 5, tickets, loads) == (7, array("I", [1, 3]))
    assert list(loads) == [0, 0, 0, 0]
    assert ledger.cancel(10, 5, tickets, loads) == (7, array("I")), (
        "all have ended, the sender is not told yet"
    )
    assert ledger.cancel(10, 6, tickets, loads) == ledger.cancel(20, 5, tickets, loads) == (0, array("I"))
    assert ledger.settle(answer(framing, (20, Result(7, Status.OK, b""))), tickets, loads, routed) == 1
    assert ledger.tell((), 9, 9, routed) == 2
    done: dict[int, bytearray] = {}
    assert ledger.finish(done) == 1
    assert parse(bytes(routed[10])) == [
        Routed(5, 30, 2, Status.OK, b""),
        Routed(5, 20, 1, Status.CANCELLED, b""),
        Routed(5, 40, 3, Status.CANCELLED, b""),
    ]
    assert parse(bytes(done[10])) == [Done(5, 1, 0, 0, 0, 0, 2)]
    assert ledger.cancel(10, 5, tickets, loads) == (0, array("I")), "nothing waits any more"


def test_a_tied_command_ends_with_its_sender(framing):
    """Ranks are those of the departure. A command that is not tied is forgotten, and its executors go on."""
    tickets, loads = array("Q", [10, 20, 30, 40]), array("I", [0, 1, 2, 2])
    ledger = framing.Ledger()
    ledger.open(7, 10, 1, True, tickets, 2, 4)
    ledger.open(8, 10, 2, False, tickets, 1, 4)
    del tickets[1], loads[1]  # 20 has left
    ledger.leave([20], 1)
    assert ledger.forget(10, tickets, loads) == [(7, array("I", [1, 2]))]
    assert (list(loads), ledger.owed, len(ledger)) == ([0, 0, 0], 0, 0)
    assert ledger.forget(10, tickets, loads) == []


def test_parts_are_not_final_results(framing, opened):
    ledger, tickets, loads = opened
    routed: dict[int, bytearray] = {}
    parts = [(20, Result(7, Status.PART, b"%d" % i)) for i in range(3)]
    assert ledger.settle(answer(framing, *parts), tickets, loads, routed) == 0
    assert [frame.payload for frame in parse(bytes(routed[10]))] == [b"0", b"1", b"2"]
    assert list(loads) == [0, 1, 1, 1]


def test_the_ranks_of_the_dispatch_stay_when_ranks_change(framing, opened):
    """Ranks in ROUTED are those of the dispatch; loads are stored under the current rank of each member."""
    ledger, _, _ = opened
    tickets, loads = array("Q", [10, 30, 40, 50]), array("I", [0, 1, 1, 9])  # 20 left, 50 joined
    routed: dict[int, bytearray] = {}
    ledger.leave([20], 1)
    assert ledger.tell((), 9, 9, routed) == 1
    assert ledger.settle(answer(framing, (40, Result(7, Status.OK, b""))), tickets, loads, routed) == 0
    assert parse(bytes(routed[10])) == [Routed(5, 20, 1, Status.LEFT, b""), Routed(5, 40, 3, Status.OK, b"")]
    assert list(loads) == [0, 1, 0, 9]


def test_one_executor_of_a_large_room_takes_no_memory_of_its_size(framing):
    """Each command sees a different list of members, as after a join: the ledger does not keep each whole list."""
    ledger, tickets = framing.Ledger(), array("Q", range(10_000))
    tracemalloc.start()
    try:
        for seq in range(100):
            ledger.open(seq, 0, seq, False, tickets[:], 5, 6)
        assert tracemalloc.get_traced_memory()[0] < 100 * 1000
    finally:
        tracemalloc.stop()


def test_half_of_a_large_room_leaves_while_each_waits_for_the_next(framing):
    """A departed member is searched among the possible executors of a command, not among all members."""
    size = 8000
    ledger, tickets = framing.Ledger(), array("Q", range(1, size + 1))
    for rank in range(size - 1):
        ledger.open(rank + 1, tickets[rank], 1, False, tickets, rank + 1, rank + 2)
    began = time.process_time()
    ledger.leave(list(range(2, size + 1, 2)), size // 2)
    assert time.process_time() - began < 0.5, "looking for each at each takes some seconds in the pure twin"
    routed: dict[int, bytearray] = {}
    assert ledger.tell((), size, size, routed) == len(routed) == size // 2


@pytest.mark.slow
def test_a_departure_looks_only_at_the_commands_of_the_member(framing):
    """A hundred times as many commands of others do not make a departure slower: it never visits them."""
    costs = []
    for others in (1000, 100_000):
        ledger, tickets = framing.Ledger(), array("Q", range(1, 12))
        for seq in range(others):
            ledger.open(seq, 1, seq, False, tickets, 2 + seq % 8, 3 + seq % 8)
        ledger.open(others, 1, others, False, tickets, 10, 11)
        tracemalloc.start()
        began = time.process_time()
        for _ in range(50):
            ledger.leave([11], 1)
            ledger.leave([12], 0)
        costs.append(time.process_time() - began)
        tracemalloc.stop()
    assert costs[1] < 0.05 + 5 * costs[0]


def test_expiry_costs_only_the_outstanding_results(framing):
    """Of 100,000 executors one has a result outstanding: settling it does not iterate over all of them in Python."""
    ledger, tickets = framing.Ledger(), array("Q", range(1, 100_002))
    loads = array("I", [0]) + array("I", [1]) * 100_000
    ledger.open(1, 1, 1, False, tickets, 1, 100_001)
    batch = framing.Batch(100)
    for ticket in tickets[1:-1]:
        batch.feed(ticket, Result(1, Status.OK, b"").encode())
    ledger.settle(batch, tickets, loads, {})
    began = time.process_time()
    assert ledger.expire(deque([1]), 1, tickets, loads) == 1
    assert time.process_time() - began < 0.005
    routed: dict[int, bytearray] = {}
    assert ledger.tell((), 9, 9, routed) == 1
    assert parse(bytes(routed[1])) == [Routed(1, 100_001, 100_000, Status.EXPIRED, b"")]
