"""Section 5: the executors of a command, and its sender's first answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import (
    QUIET,
    RESULTS,
    U32_MAX,
    WANTED,
    Accepted,
    Command,
    Done,
    Execute,
    Rank,
    Routed,
    Status,
    Target,
)
from .line import executors, loads

if TYPE_CHECKING:
    from .conftest import Serve
    from .process import Server


# Targets


@pytest.mark.parametrize("rank", range(4))
def test_all(room: Server, rank: int) -> None:
    """Every junior executes it; it is rejected for every senior."""
    line = room.line(5)
    line[rank].command(9, Target.ALL)
    line[rank].expect(Accepted, id=9, executors=4 - rank, rejected=rank)
    assert executors(line) == list(range(rank + 1, 5))


def test_one(room: Server) -> None:
    line = room.line(5)
    for sender in range(4):
        for target in range(sender + 1, 5):
            line[sender].command(target, Target.ONE, target)
            line[sender].expect(Accepted, id=target, executors=1, rejected=0)
            assert executors(line) == [target]


def test_next(room: Server) -> None:
    line = room.line(4)
    for sender in range(3):
        line[sender].command(sender, Target.NEXT)
        line[sender].expect(Accepted, id=sender, executors=1, rejected=0)
        assert executors(line) == [sender + 1]


def test_next_after_a_departure(room: Server) -> None:
    sender, going, junior = room.line(3)
    going.leave()
    going.expect_close()
    junior.expect(Rank, rank=1)
    sender.command(1, Target.NEXT, payload=b"closer")
    sender.expect(Accepted, id=1)
    junior.expect_execute(0, b"closer")


def test_least_rotates_while_no_junior_answers(room: Server) -> None:
    """The junior with the smallest load, or the most senior of those with equal loads."""
    line = room.line(4)
    for number in range(7):
        line[0].command(number, Target.LEAST, results=True)
        line[0].expect(Accepted, id=number, executors=1, rejected=0)
        assert executors(line) == [1 + number % 3]
    assert loads(line[0]) == [0, 3, 2, 2]


def test_least_rotates_within_one_turn(room: Server) -> None:
    line = room.line(4)
    with room.one_turn():
        for number in range(7):
            line[0].command(number, Target.LEAST, payload=b"%d" % number, results=True, quiet=True)
    for rank, numbers in {1: (0, 3, 6), 2: (1, 4), 3: (2, 5)}.items():
        for number in numbers:
            line[rank].expect_execute(0, b"%d" % number)
        line[rank].expect_quiet()


def test_least_without_results_adds_no_load(room: Server) -> None:
    line = room.line(3)
    for number in range(3):
        line[0].command(number, Target.LEAST, quiet=True)
        assert executors(line) == [1]
    assert loads(line[0]) == [0, 0, 0]


def test_least_looks_only_below_its_sender(room: Server) -> None:
    line = room.line(4)
    for number, target in enumerate((2, 2, 3)):
        line[0].command(number, Target.ONE, target, results=True, quiet=True)
    assert loads(line[0]) == [0, 0, 2, 1]
    for peer in line[2:]:
        peer.settle()
    line[1].command(1, Target.LEAST, quiet=True)
    assert executors(line) == [3]
    line[0].command(9, Target.LEAST, quiet=True)
    assert executors(line) == [1]


def test_load_counts_commands_without_a_final_result(room: Server) -> None:
    line = room.line(3)
    line[0].command(1, Target.ALL, results=True, quiet=True)
    line[0].command(2, Target.ONE, 1, results=True, quiet=True)
    first = line[1].expect(Execute).seq
    second = line[1].expect(Execute).seq
    assert loads(line[0]) == [0, 2, 1]
    line[1].result(first, Status.PART)
    line[0].expect(Routed, status=Status.PART)
    assert loads(line[0]) == [0, 2, 1]
    line[1].result(first, Status.FAILED)
    line[0].expect(Routed, status=Status.FAILED)
    assert loads(line[0]) == [0, 1, 1]
    line[1].result(second, Status.REJECTED)
    line[0].expect(Routed, status=Status.REJECTED)
    line[0].expect(Done, id=2)
    assert loads(line[0]) == [0, 0, 1]
    line[0].command(3, Target.LEAST, quiet=True)
    line[1].expect(Execute)


def test_only_executors_get_execute(room: Server) -> None:
    line = room.line(4)
    line[1].command(1, Target.ONE, 2, quiet=True)
    assert executors(line) == [2]
    line[0].expect_quiet()


# Flags and times


def test_quiet_spares_the_accepted(room: Server) -> None:
    sender, junior = room.line(2)
    sender.command(1, quiet=True, payload=b"hush")
    junior.expect_execute(0, b"hush")
    sender.expect_quiet()


@pytest.mark.parametrize("flags", [0, RESULTS, QUIET, RESULTS | QUIET])
def test_execute_has_the_flag_for_results(room: Server, flags: int) -> None:
    sender, junior = room.line(2)
    sender.send(Command(1, flags=flags, ttl_ms=5))
    junior.expect(Execute, flags=WANTED if flags & RESULTS else 0, ttl_ms=5)


@pytest.mark.parametrize("ttl_ms", [1, 5000, 60_000, 60_001, U32_MAX])
def test_execute_carries_the_ttl(room: Server, ttl_ms: int) -> None:
    sender, junior = room.line(2)
    sender.command(1, ttl_ms=ttl_ms)
    junior.expect(Execute, ttl_ms=ttl_ms)
    if ttl_ms > 1:
        sender.command(2, ttl_ms=ttl_ms, results=True)
        junior.expect(Execute, ttl_ms=ttl_ms, flags=WANTED)


def test_no_ttl_is_no_limit_or_the_default(room: Server) -> None:
    sender, junior = room.line(2)
    sender.command(1)
    junior.expect(Execute, ttl_ms=0)
    sender.command(2, results=True)
    junior.expect(Execute, ttl_ms=60_000)


def test_the_default_ttl_is_a_setting(serve: Serve) -> None:
    sender, junior = serve(2, "--result-ttl-ms", "1234").line(2)
    sender.command(1)
    junior.expect(Execute, ttl_ms=0)
    sender.command(2, results=True)
    junior.expect(Execute, ttl_ms=1234)


@pytest.mark.parametrize("ident", [0, 1, U32_MAX])
def test_ids_are_separate_for_each_sender(room: Server, ident: int) -> None:
    first, second, _ = room.line(3)
    first.command(ident, Target.ONE, 2, results=True)
    first.expect(Accepted, id=ident)
    second.command(ident, results=True)
    second.expect(Accepted, id=ident)
