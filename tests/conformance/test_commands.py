"""Section 5: who executes a command, what its sender hears at once, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import (
    MAX_PAYLOAD,
    QUIET,
    RESULTS,
    U32_MAX,
    WANTED,
    Accepted,
    Command,
    Done,
    Execute,
    Rank,
    Refusal,
    Refused,
    Routed,
    Status,
    Target,
    encode_all,
)

if TYPE_CHECKING:
    from .conftest import Serve
    from .peer import Peer
    from .process import Server

WAITING_MAX = 1024  # commands of one sender that wait for results
TOO_BIG = bytes(MAX_PAYLOAD + 1)


def executors(line: list[Peer]) -> list[int]:
    """The ranks of those that an EXECUTE has reached since they were last asked."""
    reached = []
    for rank, peer in enumerate(line):
        executes = [frame for frame in peer.settle() if isinstance(frame, Execute)]
        assert len(executes) <= 1
        reached += [rank] * len(executes)
    return reached


def loads(peer: Peer) -> list[int]:
    """The loads of all members, by rank."""
    return [seat.load for seat in peer.who().seats]


# Targets


@pytest.mark.parametrize("rank", range(4))
def test_all(room: Server, rank: int) -> None:
    """Every junior executes it, for every senior it is rejected."""
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


def test_least_goes_round_while_nobody_answers(room: Server) -> None:
    """The smallest load; of equals the most senior."""
    line = room.line(4)
    for number in range(7):
        line[0].command(number, Target.LEAST, results=True)
        line[0].expect(Accepted, id=number, executors=1, rejected=0)
        assert executors(line) == [1 + number % 3]
    assert loads(line[0]) == [0, 3, 2, 2]


def test_least_goes_round_within_one_turn(room: Server) -> None:
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


def test_load_is_what_is_not_answered_for_good(room: Server) -> None:
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


def test_nobody_is_told_who_is_not_an_executor(room: Server) -> None:
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
def test_execute_says_whether_a_result_is_wanted(room: Server, flags: int) -> None:
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
def test_ids_are_the_sender_s_own(room: Server, ident: int) -> None:
    first, second, _ = room.line(3)
    first.command(ident, Target.ONE, 2, results=True)
    first.expect(Accepted, id=ident)
    second.command(ident, results=True)
    second.expect(Accepted, id=ident)


# Refusals


def test_alone(room: Server) -> None:
    """Nobody is below, whatever the target; ONE says what is wrong with the rank."""
    peer = room.join()
    for target in (Target.ALL, Target.NEXT, Target.LEAST):
        peer.command(target, target)
        peer.expect(Refused, id=target, code=Refusal.NO_TARGET)
    peer.command(10, Target.ONE, 0)
    peer.expect(Refused, id=10, code=Refusal.NOT_LOWER)
    peer.command(11, Target.ONE, 1)
    peer.expect(Refused, id=11, code=Refusal.NO_SUCH_RANK)


@pytest.mark.parametrize("target", [Target.ALL, Target.NEXT, Target.LEAST])
def test_the_last_in_line_commands_nobody(room: Server, target: Target) -> None:
    line = room.line(3)
    line[2].command(1, target)
    line[2].expect(Refused, id=1, code=Refusal.NO_TARGET)
    assert executors(line) == []


def test_ranks_that_are_not_below(room: Server) -> None:
    line = room.line(4)
    for sender in range(4):
        for target in range(sender + 1):
            line[sender].command(target, Target.ONE, target)
            line[sender].expect(Refused, id=target, code=Refusal.NOT_LOWER)
    assert executors(line) == []


@pytest.mark.parametrize("rank", [3, 4, 63, 64, 0x8000_0000, U32_MAX])
def test_ranks_that_are_not_there(room: Server, rank: int) -> None:
    line = room.line(3)
    for sender in line:
        sender.command(1, Target.ONE, rank)
        sender.expect(Refused, id=1, code=Refusal.NO_SUCH_RANK)
    assert executors(line) == []


@pytest.mark.parametrize("size", [MAX_PAYLOAD + 1, MAX_PAYLOAD + 49])
def test_a_payload_that_is_too_big(room: Server, size: int) -> None:
    sender, junior = room.line(2)
    sender.command(1, payload=bytes(size))
    sender.expect(Refused, id=1, code=Refusal.TOO_BIG)
    junior.expect_quiet()
    sender.command(2, payload=bytes(MAX_PAYLOAD))
    sender.expect(Accepted, id=2)


def test_an_id_that_waits(room: Server) -> None:
    sender, other, junior = room.line(3)
    sender.command(7, Target.ONE, 2, b"first", results=True)
    sender.expect(Accepted, id=7)
    for results in (True, False):
        sender.command(7, Target.NEXT, results=results)
        sender.expect(Refused, id=7, code=Refusal.DUPLICATE)
    other.expect_quiet()
    other.command(7, results=True)  # another sender's id is another id
    other.expect(Accepted, id=7)
    seq = junior.expect_execute(0, b"first").seq
    junior.result(seq)
    sender.expect(Routed, id=7)
    sender.expect(Done, id=7)
    sender.command(7, Target.NEXT, results=True)
    sender.expect(Accepted, id=7)


def test_an_id_that_does_not_wait_may_come_again(room: Server) -> None:
    sender, junior = room.line(2)
    for _ in range(3):
        sender.command(7)
        sender.expect(Accepted, id=7)
        junior.expect(Execute)


def test_a_duplicate_within_one_turn(room: Server) -> None:
    sender, junior = room.line(2)
    with room.one_turn():
        sender.command(7, payload=b"first", results=True)
        sender.command(7, payload=b"second", results=True)
    sender.expect(Accepted, id=7)
    sender.expect(Refused, id=7, code=Refusal.DUPLICATE)
    junior.expect_execute(0, b"first")
    junior.expect_quiet()


def test_too_many_commands_wait(room: Server) -> None:
    sender, other, junior = room.line(3)
    sender.send(*(Command(n, Target.ONE, 2, RESULTS | QUIET) for n in range(WAITING_MAX)))
    seqs = [junior.expect(Execute, sender_rank=0).seq for _ in range(WAITING_MAX)]
    sender.expect_quiet()
    sender.command(WAITING_MAX, results=True)
    sender.expect(Refused, id=WAITING_MAX, code=Refusal.BUSY)
    sender.command(WAITING_MAX, results=True, quiet=True)
    sender.expect(Refused, id=WAITING_MAX, code=Refusal.BUSY)
    other.command(1, results=True)  # it is counted by sender
    other.expect(Accepted, id=1)
    junior.expect(Execute, sender_rank=1)
    junior.result(seqs[3])
    sender.expect(Routed, id=3)
    sender.expect(Done, id=3)
    sender.command(WAITING_MAX, Target.NEXT, results=True)
    sender.expect(Accepted, id=WAITING_MAX, executors=1)
    sender.command(3, results=True)
    sender.expect(Refused, id=3, code=Refusal.BUSY)
    other.expect(Execute, sender_rank=0)
    assert loads(other) == [0, 1, WAITING_MAX]


def test_which_refusal_comes_first(room: Server) -> None:
    """TOO_BIG, then the target's, then DUPLICATE, then BUSY."""
    sender, middle, junior = room.line(3)
    middle.send(*(Command(n, Target.NEXT, 0, RESULTS | QUIET) for n in range(WAITING_MAX)))
    middle.expect_quiet()
    attempts = [
        (Command(0, Target.ONE, 9, RESULTS, 0, TOO_BIG), Refusal.TOO_BIG),
        (Command(0, Target.ONE, 9, RESULTS), Refusal.NO_SUCH_RANK),
        (Command(0, Target.ONE, 1, RESULTS), Refusal.NOT_LOWER),
        (Command(0, Target.ONE, 0, RESULTS), Refusal.NOT_LOWER),
        (Command(0, Target.ONE, 2, RESULTS), Refusal.DUPLICATE),
        (Command(WAITING_MAX, Target.ONE, 2, RESULTS), Refusal.BUSY),
    ]
    for command, code in attempts:
        middle.send(command)
        middle.expect(Refused, id=command.id, code=code)
    assert len([frame for frame in junior.settle() if isinstance(frame, Execute)]) == WAITING_MAX
    junior.leave()
    junior.expect_close()
    assert len(middle.settle()) == 2 * WAITING_MAX
    middle.command(0, Target.NEXT, results=True)
    middle.expect(Refused, id=0, code=Refusal.NO_TARGET)
    sender.expect_quiet()


def test_too_big_comes_before_no_target(room: Server) -> None:
    peer = room.join()
    peer.command(1, payload=TOO_BIG)
    peer.expect(Refused, id=1, code=Refusal.TOO_BIG)


def refused_commands(flags: int) -> list[tuple[Command, Refusal]]:
    """One command for each refusal, from the last but one in a line of three in which id 1 waits."""
    return [
        (Command(2, Target.ALL, 0, flags, 0, TOO_BIG), Refusal.TOO_BIG),
        (Command(2, Target.ONE, 0, flags), Refusal.NOT_LOWER),
        (Command(2, Target.ONE, 1, flags), Refusal.NOT_LOWER),
        (Command(2, Target.ONE, 3, flags), Refusal.NO_SUCH_RANK),
        (Command(1, Target.ALL, 0, flags), Refusal.DUPLICATE),
    ]


@pytest.mark.parametrize("flags", [0, RESULTS, QUIET, RESULTS | QUIET])
def test_what_is_refused_takes_no_seq_and_no_id(room: Server, flags: int) -> None:
    """It is refused with QUIET too, changes nothing, and its id does not wait."""
    senior, sender, junior = room.line(3)
    sender.command(1, payload=b"waits", results=True)
    before = sender.expect(Accepted, id=1).seq
    for command, code in refused_commands(flags):
        sender.send(command)
        sender.expect(Refused, id=command.id, code=code)
    junior.send(Command(5, Target.ALL, 0, flags))
    junior.expect_execute(1, b"waits")
    junior.expect(Refused, id=5, code=Refusal.NO_TARGET)
    assert loads(senior) == [0, 0, 1]
    sender.command(2, payload=b"next", results=True)
    sender.expect(Accepted, id=2, seq=before + 1)
    junior.expect(Execute, seq=before + 1, payload=b"next")
    senior.expect_quiet()


def test_a_refusal_says_why(room: Server) -> None:
    sender, _, junior = room.line(3)
    texts = []
    for target, arg in ((Target.ONE, 0), (Target.ONE, 9)):
        sender.command(1, target, arg)
        texts.append(sender.expect(Refused).text)
    junior.command(1)
    texts.append(junior.expect(Refused).text)
    assert all(texts)
    assert len(set(texts)) == 3


def test_commands_between_refusals_go_out(room: Server) -> None:
    sender, junior = room.line(2)
    good = [Command(n, Target.NEXT, 0, QUIET, 0, b"%d" % n) for n in range(50)]
    bad = Command(99, Target.ONE, 0)
    sender.raw(b"".join(encode_all(command, bad) for command in good))
    refusals = sender.settle()
    assert len(refusals) == 50
    assert all(isinstance(frame, Refused) and frame.id == 99 for frame in refusals)
    executes = [frame for frame in junior.settle() if isinstance(frame, Execute)]
    assert [frame.payload for frame in executes] == [command.payload for command in good]
    assert [frame.seq - executes[0].seq for frame in executes] == list(range(50))
