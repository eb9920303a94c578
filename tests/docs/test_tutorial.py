"""docs/tutorial.md, followed word by word: a shell in each terminal, which shows the output on the page."""

from __future__ import annotations

import codecs
import fcntl
import os
import re
import selectors
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from ..support.script import PATIENCE_S, eventually
from .pages import ROOT, Desk, blocks, patterns

BLOCKS = list(blocks(ROOT / "docs" / "tutorial.md"))
KEYS = {"Ctrl-C": b"\x03", "Ctrl-D": b"\x04"}


# Makes standard input the controlling terminal, which Popen cannot do.
_SHELL = """
import fcntl, os, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp("bash", ["bash", "--norc", "--noediting"])
"""
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*(?:[ -/]*[@-~]|$)|[^\[]|$)")


class Terminal:
    """A shell to type into. `fresh` is output that has not been compared yet."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._keyboard, end = os.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
        quiet = termios.tcgetattr(end)
        quiet[3] &= ~termios.ECHO  # typed text does not count as output
        termios.tcsetattr(end, termios.TCSANOW, quiet)
        self.shell = subprocess.Popen(
            [sys.executable, "-c", _SHELL],
            cwd=desk.directory,
            env={**desk.environment, "PS1": "$ ", "TERM": "xterm-256color"},
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
        )
        os.close(end)
        self._output = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._compared = 0
        self._poller = selectors.DefaultSelector()
        self._poller.register(self._keyboard, selectors.EVENT_READ)

    @property
    def fresh(self) -> str:
        return _ESCAPES.sub("", self._output)[self._compared :]

    def type(self, text: str) -> None:
        """Type it, each line with Enter."""
        os.write(self._keyboard, self.desk.moved(text).replace("\n", "\r").encode())

    def press(self, key: bytes) -> None:
        """Press a key that ends the program in the foreground, and wait for its end."""
        assert os.tcgetpgrp(self._keyboard) != self.shell.pid, "there is no program"
        os.write(self._keyboard, key)
        eventually(lambda: os.tcgetpgrp(self._keyboard) == self.shell.pid)

    def shows(self, text: str) -> None:
        """Wait until all lines of the block have appeared, in any order."""
        deadline = time.monotonic() + PATIENCE_S
        wanted = patterns(self.desk.moved(text))
        while True:
            found = [pattern.search(self.fresh) for pattern in wanted]
            if all(found):
                self._compared += max(match.end() for match in found if match)
                return
            ready = self._poller.select(max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} does not come: {self.fresh}"
            try:
                self._output += self._decoder.decode(os.read(self._keyboard, 65536))
            except OSError:
                raise AssertionError(f"it ended without {text!r}: {self.fresh}") from None

    def close(self) -> None:
        """End every process started in the shell."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[3]) == self.shell.pid:
                    os.kill(int(stat.parent.name), signal.SIGKILL)
        self.shell.wait()
        self._poller.close()
        os.close(self._keyboard)


@contextmanager
def desk_with_terminals(directory: Path) -> Iterator[dict[str, Terminal]]:
    desk = Desk(directory)
    with ExitStack() as stack:
        terminals = {number: Terminal(desk) for number in "1234"}
        for terminal in terminals.values():
            stack.callback(terminal.close)
        yield terminals


@pytest.mark.slow
def test_word_by_word(tmp_path):
    done = 0
    with desk_with_terminals(tmp_path) as terminals:
        for block in BLOCKS:
            if block.section.startswith("1. "):
                continue  # the environment is there
            number = re.search(r"erminal (\d)", block.title)
            assert number, f"no terminal is named: {block}"
            terminal = terminals[number[1]]
            if block.title.endswith("shows"):
                terminal.shows(block.text)
            elif block.title.startswith("Press"):
                terminal.press(KEYS[block.text.strip()])
            else:
                assert block.language == "sh" or block.title.startswith("Type")
                terminal.type(block.text)
            done += 1
    assert done > 40


def test_the_readme_sets_up_in_the_same_way():
    ours = [line for line in BLOCKS[0].text.splitlines() if "--version" not in line]
    [readme] = [block for block in blocks(ROOT / "README.md") if block.section == "Install and run"]
    theirs = [line.removeprefix("$ ").partition("#")[0].strip() for line in readme.text.splitlines()]
    assert theirs[: len(ours)] == ours == ["./do install", ". .venv/bin/activate"]
