"""docs/tutorial.md, followed word by word: each terminal is a shell, and shows the output on the page."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from ..support.script import PATIENCE_S, eventually
from .pages import ROOT, Desk, blocks, patterns

BLOCKS = list(blocks(ROOT / "docs" / "tutorial.md"))


class Terminal:
    """A shell to type into. `fresh` is output that has not been compared yet."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.shell = subprocess.Popen(
            ["bash"],
            cwd=desk.directory,
            env=desk.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.fresh = ""
        self._poller = selectors.DefaultSelector()
        self._poller.register(self.shell.stdout, selectors.EVENT_READ)

    def type(self, text: str) -> None:
        """Type it, each line with Enter."""
        self.shell.stdin.write(self.desk.moved(text).encode())
        self.shell.stdin.flush()

    def press_ctrl_c(self) -> None:
        """Interrupt the program in the foreground, and wait for its end."""
        foreground = self._children()[-1]
        os.kill(foreground, signal.SIGINT)
        eventually(lambda: foreground not in self._children())

    def _children(self) -> list[int]:
        return list(
            map(int, Path(f"/proc/{self.shell.pid}/task/{self.shell.pid}/children").read_text().split())
        )

    def shows(self, text: str) -> None:
        """Wait until all lines of the block have appeared, in any order."""
        deadline = time.monotonic() + PATIENCE_S
        wanted = patterns(self.desk.moved(text))
        while True:
            found = [pattern.search(self.fresh) for pattern in wanted]
            if all(found):
                self.fresh = self.fresh[max(match.end() for match in found if match) :]
                return
            ready = self._poller.select(max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} does not come: {self.fresh}"
            data = os.read(self.shell.stdout.fileno(), 65536)
            assert data, f"it ended without {text!r}: {self.fresh}"
            self.fresh += data.decode(errors="replace")

    def close(self) -> None:
        """End every process started in the shell."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[3]) == self.shell.pid:
                    os.kill(int(stat.parent.name), signal.SIGKILL)
        self.shell.wait()
        self._poller.close()
        self.shell.stdout.close()
        with suppress(BrokenPipeError):
            self.shell.stdin.close()


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
                assert block.text == "Ctrl-C\n"
                terminal.press_ctrl_c()
            else:
                assert block.language == "sh" or block.title.startswith("Type")
                terminal.type(block.text)
            done += 1
    assert done > 40
