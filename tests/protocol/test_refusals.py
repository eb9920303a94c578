"""Section 5: refused commands, the order of the reasons, and that a refusal changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .frames import (
    MAX_PAYLOAD,
    QUIET,
    RESULTS,
    U32_MAX,
    Accepted,
    Command,
    Done,
    Execute,
    Refusal,
    Refused,
    Routed,
    Target,
    encode_all,
)
from .line import executors, loads

if TYPE_CHECKING:
    from .process import Server

WAITING_MAX = 1024  # commands of one sender that wait for results
TOO_BIG = bytes(MAX_PAYLOAD + 1)


def test_alone(room: Server) -> None:
    """There is no junior for any target; for ONE, the code names the fault of the rank."""
    peer = room.join()
    for target in (Target.ALL, Target.NEXT, Target.LEAST):
        peer.command(target, target)
        peer.expect(Refused, id=target, code=Refusal.NO_TARGET)
    peer.command(10, Target.ONE, 0)
    peer.expect(Refused, id=10, code=Refusal.NOT_LOWER)
    peer.command(11, Target.ONE, 1)
    peer.expect(Refused, id=11, code=Refusal.NO_SUCH_RANK)


@pytest.mark.parametrize("target", [Target.ALL, Target.NEXT, Target.LEAST])
def test_the_last_in_line_has_no_juniors(room: Server, target: Target) -> None:
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
    other.command(7, results=True)  # ids are separate for each sender
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
    other.command(1, results=True)  # counted per sender
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
    """TOO_BIG, then the codes of the target, then DUPLICATE, then BUSY."""
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
    """One command for each refusal, from the second of three members, whose id 1 still awaits results."""
    return [
        (Command(2, Target.ALL, 0, flags, 0, TOO_BIG), Refusal.TOO_BIG),
        (Command(2, Target.ONE, 0, flags), Refusal.NOT_LOWER),
        (Command(2, Target.ONE, 1, flags), Refusal.NOT_LOWER),
        (Command(2, Target.ONE, 3, flags), Refusal.NO_SUCH_RANK),
        (Command(1, Target.ALL, 0, flags), Refusal.DUPLICATE),
    ]


@pytest.mark.parametrize("flags", [0, RESULTS, QUIET, RESULTS | QUIET])
def test_a_refused_command_takes_no_seq_and_no_id(room: Server, flags: int) -> None:
    """A command is refused even with QUIET, changes nothing, and its id does not await results."""
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


def test_the_text_of_a_refusal(room: Server) -> None:
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
