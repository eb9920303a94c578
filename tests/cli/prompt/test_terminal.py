"""Writing to a slow terminal: no write blocks, no output is lost, and no wait is endless."""

from __future__ import annotations

import asyncio
import os
import time
import tty
from collections.abc import Iterator

import pytest

from rankmux.cli.prompt import terminal as prompt_terminal
from rankmux.cli.prompt.terminal import Terminal

from ...support.script import PATIENCE_S

TEXT = "".join(f"line {number} é\r\n" for number in range(30_000))


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    """A pseudo-terminal: the end of its user, and the end of its programs."""
    controller, end = os.openpty()
    tty.setraw(end)
    os.set_blocking(controller, False)
    yield controller, end
    os.close(end)
    os.close(controller)


def read(controller: int) -> bytes:
    try:
        return os.read(controller, 65_536)
    except BlockingIOError:
        return b""


def test_output_that_the_terminal_does_not_take_is_queued(pair):
    controller, end = pair
    seen = bytearray()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        drained = asyncio.Event()
        terminal = Terminal(end, drained.set)
        terminal.write(TEXT)
        terminal.flush()
        await asyncio.sleep(0.05)
        assert terminal.behind
        assert not drained.is_set()
        loop.add_reader(controller, lambda: seen.extend(read(controller)))
        await asyncio.wait_for(drained.wait(), PATIENCE_S)
        assert not terminal.behind
        loop.remove_reader(controller)
        terminal.close()

    asyncio.run(run())
    while data := read(controller):
        seen.extend(data)
    assert seen.decode() == TEXT
    assert os.get_blocking(end)  # other processes share that file description, so it must not change


def test_one_turn_is_one_write(pair, monkeypatch):
    writes = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(bytes(data)) or write(fd, data))

    async def run() -> None:
        drained = asyncio.Event()
        terminal = Terminal(pair[1], drained.set)
        for text in ("erased", "line", "prompt"):
            terminal.write(text)
            terminal.flush()
        await asyncio.wait_for(drained.wait(), PATIENCE_S)
        terminal.close()

    asyncio.run(run())
    assert [data for data in writes if b"prompt" in data] == [b"erasedlineprompt"]


def test_a_terminal_that_takes_nothing_is_not_waited_for(pair, monkeypatch):
    monkeypatch.setattr(prompt_terminal, "_FAREWELL_S", 0.2)

    async def run() -> None:
        terminal = Terminal(pair[1], lambda: None)
        terminal.write(TEXT)
        terminal.close()

    begun = time.monotonic()
    asyncio.run(run())
    assert 0.2 <= time.monotonic() - begun < PATIENCE_S


def test_a_terminal_without_a_name(pair, monkeypatch):
    def nameless(_: int) -> str:
        raise OSError("no such device")

    monkeypatch.setattr(os, "ttyname", nameless)

    async def run() -> None:
        terminal = Terminal(pair[1], lambda: None)
        terminal.write("here")
        terminal.close()

    asyncio.run(run())
    assert read(pair[0]) == b"here"


def test_a_terminal_that_was_closed():
    controller, end = os.openpty()

    async def run() -> None:
        terminal = Terminal(end, lambda: None)
        os.close(controller)
        terminal.write("nobody")
        terminal.flush()
        await asyncio.sleep(0.05)
        assert not terminal.behind
        terminal.close()

    asyncio.run(run())
    os.close(end)
