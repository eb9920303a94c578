"""Turns as entries: none is larger than the log takes, however many members are slow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from rankmux.codes import Target
from rankmux.core.cluster.entries import ENTRY_OVERHEAD
from rankmux.core.cluster.turns import TurnBody
from rankmux.core.room.batch import UNLIMITED, Batch
from rankmux.core.room.ranks import Ranks
from rankmux.core.room.turn import Entry, Turn
from rankmux.server.cluster.composing import compose
from rankmux.wire import Command

PAYLOAD_MAX = 4096
ENTRY_MAX = PAYLOAD_MAX + 4096  # the least that a log must take


def bodies(slow: int, *sizes: int) -> list[TurnBody]:
    """What a turn says in which member 1 sends commands of these sizes, and so many members are slow."""
    batch = Batch(PAYLOAD_MAX)
    batch.allow(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, 1)
    stream = b"".join(Command(1, Target.ONE, 0, 0, 0, bytes(size)).encode() for size in sizes)
    taken, events = batch.feed(1, stream)
    assert (taken, events) == (len(stream), [])
    connections = SimpleNamespace(
        seats={ticket: SimpleNamespace(serial=ticket) for ticket in range(1, slow + 2)},
        outbox=SimpleNamespace(over=dict.fromkeys(range(2, slow + 2))),
    )
    turn = Turn(Entry(0, batch))
    packed = compose(turn, (), cast("Any", connections), Ranks(), ENTRY_MAX, "s1")
    assert all(len(body) + ENTRY_OVERHEAD <= ENTRY_MAX for body in packed)
    return [TurnBody.unpack(body) for body in packed]


@pytest.mark.parametrize("slow", [0, 3, 480, 600, 20_000])
@pytest.mark.parametrize("sizes", [(), (10, 20), (PAYLOAD_MAX,), (PAYLOAD_MAX, 10, PAYLOAD_MAX, PAYLOAD_MAX)])
def test_no_entry_is_larger_than_the_log_takes(slow: int, sizes: tuple[int, ...]) -> None:
    found = bodies(slow, *sizes)
    told = max(len(body.slow) for body in found)
    assert min(slow, 300) <= told <= slow
    assert sum(len(body.named) for body in found) == len(sizes)
    assert all(body.slow == list(range(2, len(body.slow) + 2)) for body in found)
