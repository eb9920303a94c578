"""The examples of docs/python.md that end by themselves: they run, and do what the page says."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack

import pytest

import rankmux
from rankmux import Status

from ..support.drivers import serving
from ..support.script import PATIENCE_S
from .pages import ROOT, blocks

EXAMPLES = {
    block.section: block.text for block in blocks(ROOT / "docs" / "python.md") if block.language == "python"
}


@pytest.fixture
def stage(scene):
    with ExitStack() as stack:
        boss = stack.enter_context(rankmux.Client(port=scene.port, name="boss"))
        ran: list[str] = []

        def handler(command: rankmux.ReceivedCommand) -> str:
            ran.append(command.text)
            return "found" if command.text == "search" else ""

        web = stack.enter_context(rankmux.Client(port=scene.port, name="web-1"))
        stack.enter_context(serving(web, handler))
        yield boss, ran


def test_naming_the_executors(stage):
    boss, ran = stage
    failed = boss.command("reload", results=True).gather(PATIENCE_S)
    exec(EXAMPLES["Naming the executors"], {"client": boss, "failed": failed})
    assert boss.command("last", results=True).wait(PATIENCE_S).ok == 1
    assert ran == ["reload"] * 7 + ["last"]


def test_ending_a_command_early(stage):
    boss, _ = stage
    waits = boss.command("go on", results=True)
    code = next(
        block.text
        for block in blocks(ROOT / "docs" / "python.md")
        if block.section == "Ending a command early"
    )
    names = {"client": boss, "rankmux": rankmux}
    exec(code, names)
    assert names["result"].text == "found"
    assert names["receipt"].wait(PATIENCE_S).ok == 1
    assert waits.wait(PATIENCE_S).ok == 1


def test_a_handler_that_is_cancelled(scene, stage):
    boss, _ = stage
    names = {"subprocess": subprocess}
    exec(EXAMPLES["Ending a command early"], names)
    with rankmux.Client(port=scene.port, name="shell") as shell, serving(shell, names["run"]):
        assert boss.command("exit 3", to="shell", results=True).gather(PATIENCE_S)[0].text == "3"
        with boss.command("sleep 60", to="shell", results=True, timeout=120) as receipt:
            pass
        assert [result.status for result in receipt] == [Status.CANCELLED]
        assert boss.command("exit 4", to="shell", results=True).gather(PATIENCE_S)[0].text == "4"


def test_leading(stage):
    boss, _ = stage
    tickets = []

    def work(state: dict[str, int], fence: int) -> int:
        tickets.append(fence)
        if state["done"] == 2:
            boss.step_down()
        return 1

    begun = boss.ticket
    code = (
        EXAMPLES["Leading"].replace("client.set_baton", "note").replace("term.wait(1.0)", "term.wait(0.01)")
    )
    notes = []
    exec(code, {"client": boss, "json": json, "work": work, "note": notes.append})
    assert tickets == [begun] * 3
    assert [json.loads(note)["done"] for note in notes] == [1, 2, 3]
