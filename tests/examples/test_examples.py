"""Each example as real processes against a real server; some of them are killed, and the rest must continue."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rankmux import Client, ReceivedCommand

from ..protocol.process import ROOT, Server
from ..support.patience import until
from ..support.script import PATIENCE_S, Running, environment

EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))


class Stage:
    """A server, and examples that join it one after the other."""

    def __init__(self, stack: ExitStack, *flags: str) -> None:
        self._stack = stack
        self.server = Server(16, "--log-lines-per-s", "1000", *flags, extension=False)
        stack.callback(self.server.stop)

    def start(self, example: str, name: str, *flags: object) -> Running:
        """An example that has its rank."""
        program = EXAMPLES / f"{example}.py"
        where = ("--host", self.server.host, "--port", self.server.port)
        running = self._stack.enter_context(Running(program, *where, "--name", name, *flags))
        running.until(rf"{name}: .*rank \d+")
        until(lambda: f"joined: {name} " in self.server.log())
        return running


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_each_is_short_and_says_what_it_shows(program: Path) -> None:
    lines = program.read_text().splitlines()
    assert 40 <= len(lines) <= 120
    assert f"python examples/{program.name}" in program.read_text().split('"""')[1]
    assert f"]({program.name})" in (EXAMPLES / "README.md").read_text()
    said = subprocess.run(
        [sys.executable, program, "--help"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    ).stdout
    assert "--port" in said


def test_the_standby_continues_where_the_leader_was_killed(stack: ExitStack) -> None:
    stage = Stage(stack)
    flags = ("--pace", 0.05)
    leader, second, third = (
        stage.start("leader_and_standby", name, *flags) for name in ("ada", "bob", "cyd")
    )
    leader.until(r"job \d+ done, ticket 1, 2 standing by")
    leader.end(signal.SIGKILL)
    done = int(re.findall(r"job (\d+) done", leader.out)[-1])
    first = int(second.until(r"leading from job (\d+) on, with ticket 2")[1])
    next_ = int(second.until(r"job (\d+) done")[1])
    assert next_ in (done + 1, done + 2)  # the last one may be reported but not printed
    assert first == next_
    second.until(rf"job {next_ + 2} done, ticket 2, 1 standing by")
    assert "leading" not in third.out
    second.end(signal.SIGINT)
    assert "left" in second.out
    assert second.err == ""
    assert int(third.until(r"job (\d+) done, ticket 3, 0 standing by")[1]) > next_ + 2


def test_a_leader_that_was_frozen_steps_down(stack: ExitStack) -> None:
    stage = Stage(stack, "--ping-ms", "100")
    leader, second = (stage.start("leader_and_standby", name, "--pace", 0.05) for name in ("ada", "bob"))
    leader.until(r"job \d+ done, ticket 1, 1 standing by")
    leader.process.send_signal(signal.SIGSTOP)
    second.until(r"job \d+ done, ticket 2")
    leader.process.send_signal(signal.SIGCONT)
    leader.until(r"joining again, as the last in line\nada: rank 1\n")
    ours = [int(job) for job in re.findall(r"job (\d+) done", leader.out)]
    assert max(ours) <= int(re.findall(r"job (\d+) done", second.out)[0]) + 1  # at most the one it was at


def test_leaders_outlive_the_server(stack: ExitStack) -> None:
    stage = Stage(stack)
    leader = stage.start("leader_and_standby", "ada", "--pace", 0.05)
    port = str(stage.server.port)
    leader.until(r"job 2 done")
    stage.server.signal(signal.SIGTERM)
    assert stage.server.wait() == 0
    leader.until("going away.*joining again")
    again = Server(4, "--port", port)
    stack.callback(again.stop)
    leader.until(r"joining again(?s:.*)leading from job [3-9]\d* on")


@pytest.mark.slow
@pytest.mark.parametrize("example", ["fan_out", "fan_out_aio"])
def test_answers_are_gathered_as_far_as_they_come(stack: ExitStack, example: str) -> None:
    stage = Stage(stack)
    flags = ("--every", 0.1, "--timeout", 2)
    asker = stage.start(example, "ada", *flags)
    asker.until("nobody is below")
    frozen, killed, whole = (stage.start(example, name, *flags) for name in ("bob", "cyd", "dan"))
    asker.until("3 of 3 answered, mean load")
    frozen.process.send_signal(signal.SIGSTOP)
    killed.process.send_signal(signal.SIGSTOP)
    asker.until(r" 1  EXPIRED +\n +2  EXPIRED +\n +3  OK .*\n1 of 3 answered")
    asked = stage.server.log().count(": 3 executors")
    until(lambda: stage.server.log().count(": 3 executors") > asked)
    killed.end(signal.SIGKILL)  # while its answer is awaited
    asker.until(r" 1  EXPIRED +\n +2  LEFT +\n +3  OK .*\n1 of 3 answered")
    asker.until(r" 1  EXPIRED +\n +2  OK .*\n1 of 2 answered")
    asker.end(signal.SIGKILL)
    frozen.process.send_signal(signal.SIGCONT)  # the next in line
    frozen.until("1 of 1 answered, mean load")
    assert whole.err == ""


@pytest.mark.parametrize("example", ["fan_out", "fan_out_aio"])
def test_a_fan_out_reports_a_handler_that_fails(stack: ExitStack, example: str) -> None:
    stage = Stage(stack)
    asker = stage.start(example, "ada", "--every", 0.1)
    asked = []

    def fail(command: ReceivedCommand) -> None:
        asked.append(command.text)
        raise ZeroDivisionError("not by zero")

    broken = stack.enter_context(Client(stage.server.host, stage.server.port, handler=fail))
    assert broken.wait(lambda: asked == ["load"], PATIENCE_S)
    asker.until(r" 1  FAILED    ZeroDivisionError: not by zero\n0 of 1 answered, no answer")


def rounds(text: str, role: str = "host") -> dict[int, dict[str, int]]:
    """The scores after each round, as one player showed them."""
    return {
        int(number): {name: int(points) for name, points in re.findall(r"(\w+) (\d+)", scores)}
        for number, scores in re.findall(rf"round (\d+) \({role}\): (.*)\n", text)
    }


def test_a_game_goes_on_from_the_last_snapshot(stack: ExitStack) -> None:
    stage = Stage(stack)
    ada = stage.start("host_migration", "ada", "--pace", 0.1, "--goal", 1000)
    bob, cyd = (stage.start("host_migration", name, "--pace", 0, "--goal", 1000) for name in ("bob", "cyd"))
    ada.until(r"\(host\): ada \d+, bob \d+, cyd \d+\n")
    ada.end(signal.SIGKILL)
    first = int(bob.until(r"hosting from round (\d+) on")[1])
    bob.until(rf"round {first} \(host\).*\n")
    snapshot, after = rounds(bob.out, "guest")[first - 1], rounds(bob.out)[first]
    assert snapshot["ada"] > 0
    assert after["ada"] == snapshot["ada"]  # a departed player keeps its score, and rolls no more
    assert 1 <= after["bob"] - snapshot["bob"] <= 6
    assert first - 1 >= max(rounds(ada.out)) - 1  # no round sent to the others is lost
    assert (bob.end(), cyd.end()) == (0, 0)
    winner = re.findall(r"^(\w+) wins$", bob.out, re.MULTILINE)
    assert re.findall(r"^(\w+) wins$", cyd.out, re.MULTILINE) == winner
    assert len(winner) == 1
    for number, scores in rounds(cyd.out, "guest").items():  # all players saw the same game
        assert {**rounds(bob.out), **rounds(bob.out, "guest")}[number] == scores


def test_a_game_is_won_alone(stack: ExitStack) -> None:
    ada = Stage(stack).start("host_migration", "ada", "--pace", 0)
    assert ada.end() == 0
    assert "ada wins" in ada.out
