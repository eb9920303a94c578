"""Section 6: results, exactly one final one for each executor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .frames import (
    MAX_PAYLOAD,
    U64_MAX,
    Accepted,
    Cause,
    Code,
    Done,
    Execute,
    Frame,
    Hello,
    Rank,
    Result,
    Routed,
    Status,
    Target,
    Welcome,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .conftest import Serve
    from .peer import Peer
    from .process import Server

TTL_MS = 100


def ask(sender: Peer, juniors: Sequence[Peer], ident: int = 1, ttl_ms: int = 0) -> int:
    """Send a command to ALL with results; returns its seq."""
    sender.command(ident, payload=b"ask", results=True, ttl_ms=ttl_ms)
    seq = sender.expect(Accepted, id=ident, executors=len(juniors)).seq
    for junior in juniors:
        junior.expect(Execute, seq=seq, flags=1)
    return seq


# Each status


@pytest.mark.parametrize(
    ("status", "count"), [(Status.OK, "ok"), (Status.FAILED, "failed"), (Status.REJECTED, "rejected")]
)
@pytest.mark.parametrize("payload", [b"", b"done", bytes(range(256))], ids=len)
def test_an_answer_is_passed_on(room: Server, status: Status, count: str, payload: bytes) -> None:
    sender, junior = room.line(2)
    seq = ask(sender, [junior])
    junior.result(seq, status, payload)
    sender.expect(Routed, id=1, ticket=junior.ticket, rank=1, status=status, payload=payload)
    sender.expect(Done, id=1)
    assert sender.wire == encode(Done(1, **{count: 1}))
    sender.expect_quiet()
    junior.expect_quiet()


def test_parts_come_before_the_end(room: Server) -> None:
    sender, junior = room.line(2)
    seq = ask(sender, [junior])
    for number in range(20):
        junior.result(seq, Status.PART, b"line %d" % number)
    for number in range(20):
        sender.expect(Routed, id=1, status=Status.PART, payload=b"line %d" % number)
    sender.expect_quiet()
    junior.result(seq, Status.OK, b"last")
    sender.expect(Routed, id=1, status=Status.OK, payload=b"last")
    sender.expect(Done, id=1, ok=1, failed=0, rejected=0, expired=0, left=0)


def test_quiet_does_not_spare_the_results(room: Server) -> None:
    sender, junior = room.line(2)
    sender.command(1, results=True, quiet=True)
    junior.result(junior.expect(Execute).seq)
    sender.expect(Routed, id=1, status=Status.OK)
    sender.expect(Done, id=1, ok=1)


def test_every_executor_answers(room: Server) -> None:
    """In any order; each with its ticket and rank; DONE after the last one and not before."""
    sender, *juniors = room.line(6)
    seq = ask(sender, juniors)
    for number in (3, 0, 4, 1, 2):
        sender.expect_quiet()
        juniors[number].result(seq, Status.OK, b"%d" % number)
        peer = juniors[number]
        sender.expect(Routed, id=1, ticket=peer.ticket, rank=number + 1, payload=b"%d" % number)
    sender.expect(Done, id=1, ok=5)


def test_several_commands_wait_at_once(room: Server) -> None:
    first, second, third = room.line(3)
    first.command(1, Target.ONE, 1, results=True, quiet=True)
    first.command(2, Target.ONE, 2, results=True, quiet=True)
    one = second.expect(Execute).seq
    two = third.expect(Execute).seq
    second.command(1, results=True, quiet=True)
    three = third.expect(Execute, sender_rank=1).seq
    third.result(three, payload=b"three")
    second.expect(Routed, id=1, rank=2, payload=b"three")
    second.expect(Done, id=1, ok=1)
    third.result(two, payload=b"two")
    first.expect(Routed, id=2, rank=2, payload=b"two")
    first.expect(Done, id=2, ok=1)
    second.result(one, payload=b"one")
    first.expect(Routed, id=1, rank=1, payload=b"one")
    first.expect(Done, id=1, ok=1)


def test_every_way_to_end_in_one_command(room: Server) -> None:
    sender, *juniors = room.line(7)
    seq = ask(sender, juniors, ttl_ms=400)
    juniors[0].result(seq, Status.OK)
    juniors[1].result(seq, Status.FAILED)
    juniors[2].result(seq, Status.REJECTED)
    juniors[3].result(seq, Status.PART)
    juniors[4].leave()
    juniors[5].reset()
    ends: dict[int, int] = {}
    parts = 0
    while isinstance(frame := sender.recv(), Routed):
        if frame.status == Status.PART:
            parts += 1
        else:
            assert frame.rank not in ends
            ends[frame.rank] = frame.status
        assert frame.ticket == juniors[frame.rank - 1].ticket
    assert ends == dict(
        enumerate(
            [Status.OK, Status.FAILED, Status.REJECTED, Status.EXPIRED, Status.LEFT, Status.LEFT], start=1
        )
    )
    assert parts == 1
    assert frame == Done(1, ok=1, failed=1, rejected=1, expired=1, left=2)


def test_the_id_is_free_after_done(room: Server) -> None:
    sender, junior = room.line(2)
    for _ in range(3):
        junior.result(ask(sender, [junior], ident=5))
        sender.expect(Routed, id=5)
        sender.expect(Done, id=5)


def test_results_of_the_largest_size(room: Server) -> None:
    sender, junior = room.line(2)
    seq = ask(sender, [junior])
    junior.result(seq, Status.PART, bytes(MAX_PAYLOAD))
    sender.expect(Routed, status=Status.PART, payload=bytes(MAX_PAYLOAD))


@pytest.mark.parametrize("size", [MAX_PAYLOAD + 1, MAX_PAYLOAD + 54])
def test_a_result_that_is_too_big(room: Server, size: int) -> None:
    """An oversized RESULT ends its sender's connection and has no effect."""
    sender, junior, other = room.line(3)
    seq = ask(sender, [junior, other])
    junior.result(seq, Status.OK, bytes(size))
    junior.expect_error(Code.TOO_BIG)
    sender.expect(Routed, ticket=junior.ticket, rank=1, status=Status.LEFT)
    other.expect(Rank, rank=1, cause=Cause.EVICTED)
    other.result(seq)
    sender.expect(Routed, ticket=other.ticket, rank=2, status=Status.OK)
    sender.expect(Done, ok=1, left=1)


def test_a_result_that_is_too_big_and_unasked(room: Server) -> None:
    """The connection ends even if no command awaits the RESULT."""
    peer = room.join()
    peer.result(99, Status.OK, bytes(MAX_PAYLOAD + 1))
    peer.expect_error(Code.TOO_BIG)


# EXPIRED


def test_no_answer_in_time(room: Server) -> None:
    sender, answers, silent = room.line(3)
    began = time.monotonic()
    seq = ask(sender, [answers, silent], ttl_ms=TTL_MS)
    answers.result(seq)
    sender.expect(Routed, rank=1, status=Status.OK)
    sender.expect(Routed, id=1, ticket=silent.ticket, rank=2, status=Status.EXPIRED, payload=b"")
    sender.expect(Done, id=1, ok=1, expired=1)
    assert TTL_MS / 1000 <= time.monotonic() - began < 2.0
    assert [seat.load for seat in sender.who().seats] == [0, 0, 0]
    ask(sender, [answers, silent])  # the id is free again


def test_parts_do_not_extend_the_time(room: Server) -> None:
    sender, junior = room.line(2)
    began = time.monotonic()
    seq = ask(sender, [junior], ttl_ms=300)
    junior.result(seq, Status.PART)
    sender.expect(Routed, status=Status.PART)
    sender.expect(Routed, status=Status.EXPIRED)
    sender.expect(Done, expired=1)
    assert 0.3 <= time.monotonic() - began < 2.0


def test_an_answer_after_the_time(room: Server) -> None:
    sender, junior = room.line(2)
    seq = ask(sender, [junior], ttl_ms=TTL_MS)
    sender.expect(Routed, status=Status.EXPIRED)
    sender.expect(Done, expired=1)
    junior.result(seq, Status.OK, b"late")
    junior.expect_quiet()
    sender.expect_quiet()


def test_times_run_out_in_their_order(room: Server) -> None:
    sender, junior = room.line(2)
    for ident, ttl_ms in ((1, 300), (2, 100), (3, 200)):
        ask(sender, [junior], ident, ttl_ms)
    for ident in (2, 3, 1):
        sender.expect(Routed, id=ident, status=Status.EXPIRED)
        sender.expect(Done, id=ident, expired=1)


def test_the_default_time_runs_out(serve: Serve) -> None:
    sender, junior = serve(2, "--result-ttl-ms", "150").line(2)
    began = time.monotonic()
    ask(sender, [junior])
    sender.expect(Routed, status=Status.EXPIRED)
    sender.expect(Done, expired=1)
    assert 0.15 <= time.monotonic() - began < 2.0


# LEFT


@pytest.mark.parametrize("how", ["leave", "half_close", "reset"])
def test_an_executor_that_departs(room: Server, how: str) -> None:
    sender, going, staying = room.line(3)
    seq = ask(sender, [going, staying])
    going.result(seq, Status.PART, b"so far")
    sender.expect(Routed, rank=1, status=Status.PART)
    getattr(going, how)()
    sender.expect(Routed, id=1, ticket=going.ticket, rank=1, status=Status.LEFT, payload=b"")
    staying.result(seq)
    sender.expect(Routed, rank=2, status=Status.OK)
    sender.expect(Done, id=1, ok=1, left=1)


def test_one_that_answered_before_it_left_has_one_end(room: Server) -> None:
    sender, going, staying = room.line(3)
    seq = ask(sender, [going, staying])
    going.result(seq, Status.FAILED)
    sender.expect(Routed, rank=1, status=Status.FAILED)
    going.leave()
    going.expect_close()
    sender.expect_quiet()
    staying.result(seq)
    sender.expect(Routed, rank=2)
    sender.expect(Done, ok=1, failed=1, left=0)


def test_all_executors_depart_in_one_turn(room: Server) -> None:
    sender, *juniors = room.line(5)
    ask(sender, juniors, 1)
    ask(sender, juniors, 2)
    with room.one_turn():
        for junior in juniors:
            junior.leave()
    ends = [sender.expect(Routed, status=Status.LEFT) for _ in range(8)]
    assert sorted((end.id, end.rank) for end in ends) == [(i, r) for i in (1, 2) for r in range(1, 5)]
    assert sorted(end.ticket for end in ends) == sorted([junior.ticket for junior in juniors] * 2)
    sender.expect(Done, id=1, left=4)
    sender.expect(Done, id=2, left=4)


# The executors are those of the dispatch


def test_a_newcomer_is_no_executor(room: Server) -> None:
    sender, junior = room.line(2)
    seq = ask(sender, [junior])
    late = room.join()
    late.result(seq, Status.OK, b"not asked")
    late.expect_quiet()
    sender.expect_quiet()
    junior.result(seq)
    sender.expect(Routed, rank=1, ticket=junior.ticket)
    sender.expect(Done, ok=1)


def test_a_promotion_changes_nothing(room: Server) -> None:
    """ROUTED carries the rank that the executor had."""
    senior, sender, first, second = room.line(4)
    seq = ask(sender, [first, second])
    senior.leave()
    sender.expect(Rank, rank=0)
    first.leave()
    sender.expect(Routed, ticket=first.ticket, rank=2, status=Status.LEFT)
    second.result(seq)
    sender.expect(Routed, ticket=second.ticket, rank=3, status=Status.OK)
    sender.expect(Done, ok=1, left=1)


def test_a_newcomer_at_an_old_rank_is_no_executor(room: Server) -> None:
    sender, gone = room.line(2)
    seq = ask(sender, [gone])
    gone.leave()
    gone.expect_close()
    sender.expect(Routed, status=Status.LEFT)
    sender.expect(Done, left=1)
    heir = room.join()
    assert heir.joined.rank == 1
    heir.result(seq)
    heir.expect_quiet()
    sender.expect_quiet()


def test_a_member_cannot_answer_for_another(room: Server) -> None:
    senior, sender, asked, bystander = room.line(4)
    sender.command(1, Target.NEXT, results=True, quiet=True)
    seq = asked.expect(Execute).seq
    for stranger in (senior, sender, bystander):
        stranger.result(seq, Status.FAILED, b"not mine")
        stranger.expect_quiet()
    sender.expect_quiet()
    asked.result(seq)
    sender.expect(Routed, ticket=asked.ticket, status=Status.OK)
    sender.expect(Done, ok=1)


# Results without a pending command


@pytest.mark.parametrize("status", [Status.OK, Status.FAILED, Status.REJECTED, Status.PART])
def test_unsolicited_results_are_dropped(room: Server, status: Status) -> None:
    sender, junior = room.line(2)
    sender.command(1, payload=b"no result wanted", quiet=True)
    unwanted = junior.expect(Execute).seq
    for seq in (unwanted, junior.joined.seq, 0, unwanted + 1, U64_MAX):
        junior.result(seq, status, b"for nothing")
    junior.expect_quiet()
    sender.expect_quiet()


def test_a_second_answer_is_dropped(room: Server) -> None:
    sender, junior, other = room.line(3)
    seq = ask(sender, [junior, other])
    with room.one_turn():
        junior.result(seq, Status.OK, b"first")
        junior.result(seq, Status.FAILED, b"second")
        junior.result(seq, Status.PART, b"third")
    sender.expect(Routed, rank=1, status=Status.OK, payload=b"first")
    junior.result(seq, Status.OK, b"fourth")
    junior.expect_quiet()
    sender.expect_quiet()
    other.result(seq)
    sender.expect(Routed, rank=2)
    sender.expect(Done, ok=2, failed=0)


# The sender leaves


@pytest.mark.parametrize("how", ["leave", "half_close", "reset"])
def test_pending_commands_of_a_departed_sender_are_forgotten(room: Server, how: str) -> None:
    sender, heir, junior = room.line(3)
    seq = ask(sender, [heir, junior], ttl_ms=TTL_MS)
    getattr(sender, how)()
    heir.expect(Rank, rank=0)
    assert [seat.load for seat in heir.who().seats] == [0, 0]
    heir.result(seq, Status.OK, b"to nobody")
    junior.expect(Rank, rank=1)
    junior.result(seq, Status.OK, b"to nobody")
    late = room.join()
    for peer in (heir, junior, late):
        peer.expect_quiet()
    heir.command(1, results=True, ttl_ms=TTL_MS)
    heir.expect(Accepted, id=1, executors=2)
    ends: list[Frame] = [heir.recv() for _ in range(3)]
    assert ends[-1] == Done(1, expired=2)


def test_a_sender_and_its_executor_depart_in_one_turn(room: Server) -> None:
    witness, sender, junior, last = room.line(4)
    ask(sender, [junior, last])
    with room.one_turn():
        sender.leave()
        junior.send(Result(0), Result(1))
        junior.leave()
        late = room.connect()
        late.send(Hello())
    late.expect(Welcome, rank=2, members=3)
    last.expect(Rank, rank=1, members=2)
    ends = sender.drain()  # a result of its junior may still arrive, as both left at once
    assert all(isinstance(frame, Routed) and frame.status == Status.LEFT for frame in ends)
    junior.expect_close()
    witness.expect_quiet()
