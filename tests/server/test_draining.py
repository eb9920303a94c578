"""Draining: newcomers are refused, members may return, and the time of the stop."""

from __future__ import annotations

import pytest

from rankmux.codes import CommandFlag, ErrorCode, Status, Target
from rankmux.core.wire.codes import HelloFlag
from rankmux.core.wire.frames import Keep
from rankmux.wire import Command, Done, ErrorFrame, Execute, Frame, Hello, Result, Welcome

from ..support.embedded import Client as Member
from ..support.embedded import Embedded, embedded
from ..support.memory_log import Client, cluster

KEEP = Keep(30_000, 0, b"a secret of some length")
TO_ALL = Command(1, Target.ALL, 0, CommandFlag.RESULTS, 0, b"work")


def error_of(client: Client) -> ErrorCode:
    (error,) = client.news()
    assert isinstance(error, ErrorFrame)
    return ErrorCode(error.code)


def owed(frames: list[Frame]) -> int:
    """The seq of the last command among `frames`."""
    return next(frame.seq for frame in reversed(frames) if isinstance(frame, Execute))


def answer_of(made: Embedded, hello: Hello) -> Welcome | ErrorFrame:
    member = made.connect()
    member.send(hello)
    made.until(lambda: member.frames, member)
    answer = member.frames[0]
    assert isinstance(answer, Welcome | ErrorFrame)
    return answer


def busy(made: Embedded) -> tuple[Member, Member, int]:
    """A boss that waits for a worker, and the results that the worker owes."""
    boss = made.join("boss")
    worker = made.connect()
    worker.send(Hello("worker", keep=KEEP))
    made.until(lambda: worker.welcome, worker)
    boss.send(TO_ALL)
    made.settle(boss, worker)
    return boss, worker, owed(worker.frames)


@pytest.mark.parametrize("flags", [0, HelloFlag.OBSERVE], ids=["member", "observer"])
def test_newcomers_are_turned_away_and_members_finish(flags: int) -> None:
    with embedded() as made:
        boss, worker, seq = busy(made)
        assert made.server.drain(30.0) == 1
        assert not made.server.ready
        answer = answer_of(made, Hello("late", flags=flags))
        assert isinstance(answer, ErrorFrame)
        assert (answer.code, answer.text) == (ErrorCode.SHUTDOWN, "the server is draining, and admits nobody")
        worker.send(Result(seq, Status.OK, b"done"))
        made.until(lambda: made.server.stopped)
        assert isinstance(boss.frames[-2], Done)
        assert [
            frame.code for frame in (boss.frames[-1], worker.frames[-1]) if isinstance(frame, ErrorFrame)
        ] == [
            ErrorCode.SHUTDOWN,
            ErrorCode.SHUTDOWN,
        ]


def test_a_member_returns_to_its_seat_to_finish() -> None:
    with embedded() as made:
        boss, worker, seq = busy(made)
        made.server.drain(30.0)
        worker.reset()
        back = made.connect()
        back.send(Hello("worker", keep=Keep(30_000, seq, KEEP.secret)))
        made.until(lambda: back.welcome, back)
        back.send(Result(seq, Status.OK, b"done"))
        made.until(lambda: made.server.stopped)
        assert any(isinstance(frame, Done) and frame.ok == 1 for frame in boss.frames)


def test_it_ends_at_its_deadline_which_a_second_call_only_shortens() -> None:
    now = 1000.0
    with embedded(clock=lambda: now) as made:
        busy(made)
        made.server.drain(30.0)
        made.server.drain(60.0)
        now += 29.0
        made.step()
        assert not made.server._shutdown.asked
        now += 1.0
        made.step()
        assert made.server._shutdown.asked
    with embedded(clock=lambda: now) as made:
        busy(made)
        made.server.drain(30.0)
        made.server.drain(0.5)
        now += 0.5
        made.step()
        assert made.server._shutdown.asked


def test_without_outstanding_results_it_stops_at_once() -> None:
    with embedded() as made:
        made.join("idle")
        assert made.server.drain(30.0) == 0
        made.until(lambda: made.server.stopped)


def test_in_a_cluster_all_members_move_to_another_server() -> None:
    """Members return there, and keep their ranks."""
    with cluster(2) as made:
        boss, worker, steady = made.join(1, "boss"), made.join(0, "worker", KEEP), made.join(0, "steady")
        boss.send(TO_ALL)
        made.turn()
        seq = owed(worker.news())
        assert made.servers[0].drain(30.0) == 2
        assert error_of(made.join(0, "late")) is ErrorCode.SHUTDOWN
        worker.sock.close()
        made.turn()
        keep = Keep(30_000, seq, KEEP.secret)
        assert error_of(made.join(0, "worker", keep)) is ErrorCode.SHUTDOWN
        back, welcome = made.joined(1, "worker", keep)
        assert (welcome.returned, welcome.rank) == (True, 1)
        back.send(Result(seq, Status.OK, b"done"))
        steady.send(Result(seq, Status.OK, b"done"))
        made.turn()
        assert any(isinstance(frame, Done) and frame.ok == 2 for frame in boss.news())
        made.wait(2.0)
        assert [server.stopped for server in made.servers] == [True, False]
