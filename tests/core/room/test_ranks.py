"""The ranks against a plain list: joins, departures in one sweep, bisections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.core.room.ranks import Ranks
from rankmux.errors import StateError

Row = tuple[int, int, int, str, str]


def rows(ranks: Ranks) -> list[Row]:
    columns = ranks.tickets, ranks.handles, ranks.loads, ranks.names, ranks.addresses
    return list(zip(*columns, strict=True))


def crowd(size: int) -> Ranks:
    ranks = Ranks()
    for i in range(size):
        assert ranks.append(10 + 3 * i, i, f"n{i}", f"a{i}") == i
        ranks.loads[i] = i % 4
    return ranks


@given(
    st.lists(st.one_of(st.integers(1, 30), st.sets(st.integers(0, 60), max_size=30)), max_size=12),
)
def test_against_a_list(steps):
    """A step is the number of members that join, or a set of ranks whose members, if present, depart."""
    ranks, model, last = Ranks(), [], 0
    for step in steps:
        if isinstance(step, int):
            for _ in range(step):
                last += 1 + last % 3
                row: Row = (last, last % 1000, last % 7, f"n{last}", f"a{last}")
                assert ranks.append(row[0], row[1], row[3], row[4]) == len(model)
                ranks.loads[-1] = row[2]
                model.append(row)
        else:
            gone = sorted(rank for rank in step if rank < len(model))
            ranks.remove(iter(gone))
            model = [row for rank, row in enumerate(model) if rank not in gone]
        assert rows(ranks) == model
        assert len(ranks) == len(model)
        held = {row[0]: rank for rank, row in enumerate(model)}
        for ticket in range(last + 2):
            if ticket in held:
                assert ranks.rank_of(ticket) == held[ticket]
            else:
                with pytest.raises(KeyError):
                    ranks.rank_of(ticket)


@pytest.mark.parametrize("gone", [[0], [4], [0, 1, 2, 3, 4], [1, 3], [0, 4], [2, 3], [0, 2, 4]])
def test_every_survivor_keeps_its_row(gone):
    ranks = crowd(5)
    expected = [row for rank, row in enumerate(rows(ranks)) if rank not in gone]
    ranks.remove(gone)
    assert rows(ranks) == expected


@pytest.mark.parametrize("gone", [[5], [-1], [1, 1], [2, 1], [0, 9]])
def test_a_wrong_removal_changes_nothing(gone):
    ranks = crowd(5)
    before = rows(ranks)
    with pytest.raises(StateError):
        ranks.remove(gone)
    assert rows(ranks) == before


@pytest.mark.parametrize("ticket", [0, 21, 22])
def test_tickets_only_grow(ticket):
    ranks = crowd(5)
    before = rows(ranks)
    with pytest.raises(StateError):
        ranks.append(ticket, 9, "", "")
    assert rows(ranks) == before
    assert ranks.append(23, 9, "", "") == 5


def test_half_of_many_depart_in_one_sweep():
    ranks = crowd(20_000)
    expected = rows(ranks)[1::2]
    ranks.remove(range(0, 20_000, 2))
    assert rows(ranks) == expected
