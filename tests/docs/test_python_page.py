"""The fragments of docs/python.md, which need a client that has joined: they run, and do what the page says.

`test_docs` runs the programs of that page.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

import rankmux
from rankmux import Client, ReceivedCommand, Status

from ..support.drivers import serving
from ..support.script import PATIENCE_S, Stage
from .pages import ROOT, blocks

FRAGMENTS = {
    f"{block.section}: {block.title}": block.text
    for block in blocks(ROOT / "docs" / "python.md")
    if block.title.startswith("Fragment")
}
Run = Callable[[Client], dict[str, Any]]
"""Runs a fragment with that client; returns the names that it has left."""


def naming_the_executors(run: Run, boss: Client, scene: Stage, stack: ExitStack) -> None:
    ran: list[str] = []

    def handler(command: ReceivedCommand) -> str:
        ran.append(command.text)
        if len(ran) == 6:  # the one whose results are gathered
            raise RuntimeError("not this time")
        return ""

    web = stack.enter_context(Client(port=scene.port, name="web-1"))
    stack.enter_context(serving(web, handler))
    names = run(boss)
    assert boss.command("last", results=True).wait(PATIENCE_S).ok == 1
    assert names["failed"] == [web.ticket]
    assert ran == ["reload"] * 7 + ["last"]


def one_answer_and_many_commands(run: Run, boss: Client, scene: Stage, stack: ExitStack) -> None:
    ran: list[str] = []

    def handler(command: ReceivedCommand) -> str:
        ran.append(command.text)
        return "fine"

    web = stack.enter_context(Client(port=scene.port, name="web-1"))
    stack.enter_context(serving(web, handler))
    assert run(boss)["answer"].text == "fine"
    assert boss.request("last").status is Status.OK
    assert ran == ["status", *(f"frame {number}" for number in range(1000)), "last"]


def a_job_for_each(run: Run, boss: Client, scene: Stage, stack: ExitStack) -> None:
    ran: list[str] = []
    for name in ("web-1", "web-2"):
        web = stack.enter_context(Client(port=scene.port, name=name))
        stack.enter_context(serving(web, lambda command: ran.append(command.text)))
    receipts = run(boss)["receipts"]
    assert [receipt.counts.ok for receipt in receipts] == [1, 1, 1]
    assert sorted(ran) == ["docs", "site", "tests"]


def ending_a_command_early(run: Run, boss: Client, scene: Stage, stack: ExitStack) -> None:
    answers = {"search": "found", "go on": ""}
    web = stack.enter_context(Client(port=scene.port, name="web-1"))
    stack.enter_context(serving(web, lambda command: answers[command.text]))
    other = boss.command("go on", results=True)
    names = run(boss)
    assert names["result"].text == "found"
    assert names["receipt"].wait(PATIENCE_S).ok == 1
    assert other.wait(PATIENCE_S).ok == 1


def a_handler_that_is_cancelled(run: Run, boss: Client, scene: Stage, stack: ExitStack) -> None:
    shell = stack.enter_context(Client(port=scene.port, name="shell"))
    stack.enter_context(serving(shell, run(boss)["run"]))
    assert boss.command("exit 3", results=True).gather(PATIENCE_S)[0].text == "3"
    with boss.command("sleep 60", results=True, timeout=120) as receipt:
        pass
    assert [result.status for result in receipt] == [Status.CANCELLED]
    assert boss.command("exit 4", results=True).gather(PATIENCE_S)[0].text == "4"


def leading(run: Run, boss: Client, scene: Stage, stack: ExitStack) -> None:
    """Two terms: the second leader goes on where the first one has stepped down."""
    next_ = stack.enter_context(Client(port=scene.port, name="next"))
    for leader, last in ((boss, 2), (next_, 3)):
        write = leader.set_baton

        def note(payload: str, leader: Client = leader, last: int = last, write: Any = write) -> None:
            write(payload)
            if json.loads(payload)["done"] == last:
                leader.step_down()

        leader.set_baton = note  # type: ignore[method-assign, assignment]
    assert run(boss)["state"] == {"done": 2}
    with serving(boss, rankmux.reject):
        assert run(next_)["state"] == {"done": 3}


SCENES = {
    "Naming the executors: Fragment": naming_the_executors,
    "One answer, and many commands: Fragment": one_answer_and_many_commands,
    "One answer, and many commands: Fragment: a job for each": a_job_for_each,
    "Ending a command early: Fragment": ending_a_command_early,
    "Ending a command early: Fragment of a handler": a_handler_that_is_cancelled,
    "Leading: Fragment": leading,
}


@pytest.mark.parametrize("title", FRAGMENTS)
def test_a_fragment(scene, title):
    def run(client: Client) -> dict[str, Any]:
        names: dict[str, Any] = {"client": client, "rankmux": rankmux}
        exec(compile(FRAGMENTS[title], title, "exec"), names)
        return names

    with ExitStack() as stack:
        boss = stack.enter_context(Client(port=scene.port, name="boss"))
        SCENES[title](run, boss, scene, stack)


def test_there_are_no_other_scenes():
    assert SCENES.keys() == FRAGMENTS.keys()
