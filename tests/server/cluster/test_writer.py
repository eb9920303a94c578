"""The writer of one server: the chance in its name."""

from __future__ import annotations

import secrets
from inspect import signature

import pytest

from rankmux.server.cluster.sequencer import ClusterSequencer
from rankmux.server.cluster.writer import Writer
from rankmux.server.server import Server

from ...support.memory_log import MemoryLog, Store
from ...support.scribe import a_fold


def test_each_incarnation_is_63_bits_of_chance() -> None:
    asked: list[int] = []

    def random(bits: int) -> int:
        asked.append(bits)
        return len(asked)

    writer = Writer(a_fold(), MemoryLog(Store()), random)
    assert (writer.incarnation, asked) == (1, [63])
    writer.begin_anew()
    assert (writer.incarnation, asked) == (2, [63, 63])
    writer.write_genesis(1, 0.0)
    assert asked == [63, 63, 64]  # the room's instance


@pytest.mark.parametrize(
    ("made", "name"), [(Writer, "random"), (ClusterSequencer, "random"), (Server, "randbits")]
)
def test_chance_is_that_of_the_system_unless_it_is_made_up(made: type, name: str) -> None:
    """No two servers may ever have the same incarnation, started from one image at one moment or not."""
    assert signature(made).parameters[name].default is secrets.randbits
