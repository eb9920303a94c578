"""The moments of expiry against a sorted list; settled commands are neither returned nor kept for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rankmux.core.room.expiry import Expiries

STEPS = st.lists(st.tuples(st.sampled_from(["add", "end", "pop", "trim"]), st.integers(0, 5)), max_size=60)


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
            popped = expiries.pop()
            assert popped == min((moment, seq) for seq, moment in waiting.items())[1]
            del waiting[popped]
        else:
            expiries = expiries.trimmed()
            assert len(expiries) <= 2 * len(waiting) + 64
        assert expiries.next_ms() == min(waiting.values(), default=None)
        assert {seq: moment for moment, seq in expiries if seq in waiting} == waiting
    copy = Expiries(waiting, ((moment, seq) for seq, moment in sorted(waiting.items())))
    while waiting:
        assert copy.next_ms() == expiries.next_ms()
        popped = copy.pop()
        assert popped == expiries.pop()
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
    assert expiries.pop() == 4500
