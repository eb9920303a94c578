"""The moments of expiry against a sorted list; settled commands are neither returned nor kept for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rankmux.core.room.expiry import Expiries

FOREVER_MS = 1 << 40
STEPS = st.lists(st.tuples(st.sampled_from(["add", "end", "pop", "trim"]), st.integers(0, 5)), max_size=60)


def pop(expiries: Expiries) -> int:
    """Take out the seq with the earliest moment, the smallest of these."""
    seqs = expiries.due(FOREVER_MS)
    assert seqs
    seq = seqs.popleft()
    expiries.taken(1)
    return seq


@given(STEPS)
def test_against_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    waiting: dict[int, int] = {}  # the moment, by seq
    expiries = Expiries(waiting)
    seq = 0
    for step, number in steps:
        if step == "add":
            seq += 1
            waiting[seq] = 100 + number
            expiries.add(100 + number, seq)
        elif step == "end" and waiting:
            del waiting[sorted(waiting)[number % len(waiting)]]
        elif step == "pop" and waiting:
            assert expiries.next_ms() == min(waiting.values())
            popped = pop(expiries)
            assert popped == min((moment, seq) for seq, moment in waiting.items())[1]
            del waiting[popped]
        else:
            expiries.trim()
            assert len(expiries) <= 2 * len(waiting) + 64
        assert expiries.next_ms() == min(waiting.values(), default=None)
        assert {seq: moment for moment, seq in expiries if seq in waiting} == waiting
    copy = Expiries(waiting, ((moment, seq) for seq, moment in sorted(waiting.items())))
    while waiting:
        assert copy.next_ms() == expiries.next_ms()
        popped = pop(copy)
        assert popped == pop(expiries)
        del waiting[popped]
        expiries.next_ms()


def test_a_call_drops_a_bounded_number_of_those_that_ended() -> None:
    """The moment returned may then be too early, never too late."""
    waiting = set(range(5000))
    expiries = Expiries(waiting, ((1 + seq // 4000, seq) for seq in range(5000)))
    waiting -= set(range(4500))
    assert expiries.next_ms() == 1
    assert len(expiries) == 5000 - 1024
    moments = [expiries.next_ms() for _ in range(4)]
    assert moments == [1, 1, 2, 2]
    assert pop(expiries) == 4500


def test_due_returns_the_queue_of_one_moment() -> None:
    waiting = {1, 2, 3, 4}
    expiries = Expiries(waiting, ((5, 1), (5, 2), (5, 3), (9, 4)))
    assert expiries.due(4) is None
    seqs = expiries.due(7)
    assert seqs is not None
    assert list(seqs) == [1, 2, 3]
    seqs.popleft()
    seqs.popleft()
    expiries.taken(2)
    assert list(expiries.due(7) or ()) == [3]
    assert len(expiries) == 2
    assert pop(expiries) == 3
    assert expiries.due(8) is None
    assert list(expiries.due(9) or ()) == [4]


def test_a_sweep_looks_at_a_bounded_number_in_a_call() -> None:
    """The next call continues where it stopped, whatever expires meanwhile, and keeps the order."""
    waiting = dict.fromkeys(range(100_000))
    looked = 0

    class Counted:
        def __contains__(self, seq: int) -> bool:
            nonlocal looked
            looked += 1
            return seq in waiting

        def __len__(self) -> int:
            return len(waiting)

    expiries = Expiries(Counted(), ((1 + seq // 60_000, seq) for seq in range(100_000)))
    for seq in range(100_000):
        if seq % 3:
            del waiting[seq]
    calls = 0
    while len(expiries) > 2 * len(waiting) + 64 or calls < 6:
        looked = 0
        expiries.trim()
        assert looked <= 8192
        calls += 1
        assert calls < 20
        if calls == 2:
            for _ in range(5):
                del waiting[pop(expiries)]
        expiries.add(3, 100_000 + calls)
        waiting[100_000 + calls] = None
    kept = [seq for _, seq in sorted(expiries)]
    assert kept == [seq for _, seq in sorted(expiries, key=lambda each: each[0])], (
        "the order of a moment's seqs"
    )
    assert set(kept) >= waiting.keys()
    left = []
    while expiries.next_ms() is not None:
        left.append(pop(expiries))
        del waiting[left[-1]]
    assert left == sorted(left)
    assert (len(expiries), len(waiting)) == (0, 0)
