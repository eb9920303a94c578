"""rankmux-client on its own pseudo-terminal, and the screen that its user sees (drawn by pyte)."""

from __future__ import annotations

import fcntl
import os
import re
import selectors
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable

import pyte

from .script import PATIENCE_S, environment

# Makes standard input the controlling terminal, the source of SIGHUP and SIGWINCH, which Popen cannot do.
_ON_A_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from rankmux.cli.client import main
sys.exit(main())
"""
# With a shell that has job control: `fg` after it has been stopped.
_IN_A_SHELL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    from rankmux.cli.client import main
    sys.exit(main())
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
while os.WIFSTOPPED(status := os.waitpid(job, os.WUNTRACED)[1]):
    os.tcsetpgrp(0, os.getpid())
    print("\\nThe shell has the terminal.", flush=True)
    sys.stdin.readline()
    os.tcsetpgrp(0, job)
    os.kill(job, signal.SIGCONT)
sys.exit(os.waitstatus_to_exitcode(status))
"""
KEYS = {"C-c": "\x03", "C-d": "\x04", "C-r": "\x12", "Up": "\x1b[A", "Tab": "\t", "Enter": "\r"}
SIGN = "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"


class Terminal:
    """One run of rankmux-client at a terminal. `raw` is all its output so far."""

    def __init__(
        self, *flags: object, columns: int = 120, rows: int = 24, shell: bool = False, **settings: str
    ) -> None:
        self._controller, end = os.openpty()
        self.end = os.dup(end)
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.set_blocking(self._controller, False)
        self.before = termios.tcgetattr(end)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _IN_A_SHELL if shell else _ON_A_TERMINAL, *map(str, flags)],
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
            env={**environment(TERM="xterm-256color", RANKMUX_HISTORY="", NO_COLOR=""), **settings},
        )
        os.close(end)
        self._screen = pyte.HistoryScreen(columns, rows, history=100_000, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = bytearray()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._controller)
        os.close(self.end)

    def type(self, text: str) -> None:
        """Type `text`, all of it."""
        rest = text.encode()
        while rest:
            try:
                rest = rest[os.write(self._controller, rest) :]
            except BlockingIOError:
                self.look(0.01)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen.resize(rows, columns)

    def look(self, wait_s: float = 0.0) -> None:
        """Draw the output received so far."""
        with selectors.DefaultSelector() as poller:
            poller.register(self._controller, selectors.EVENT_READ)
            while poller.select(wait_s):
                try:
                    data = os.read(self._controller, 65536)
                except BlockingIOError:
                    return
                except OSError:  # no process holds the other end any more
                    time.sleep(wait_s)
                    return
                self.raw += data
                self._stream.feed(data)
                wait_s = 0.0

    @property
    def lines(self) -> list[str]:
        """The screen and its scrollback history, without the empty lines at the end."""
        past = [
            "".join(line[x].data for x in range(self._screen.columns)) for line in self._screen.history.top
        ]
        lines = [line.rstrip() for line in [*past, *self._screen.display]]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def line(self) -> str:
        """The line of the cursor."""
        return self._screen.display[self._screen.cursor.y].rstrip()

    def until(self, condition: Callable[[], object]) -> None:
        """Redraw until `condition()` holds."""
        deadline = time.monotonic() + PATIENCE_S
        self.look()
        while not condition():
            assert time.monotonic() < deadline, f"it did not come to that:\n{self.text}"
            self.look(0.05)

    def shows(self, pattern: str) -> re.Match[str]:
        """Redraw until a whole line matches `pattern`; returns the last such line."""
        found: list[re.Match[str]] = []

        def there() -> bool:
            found[:] = [match for line in self.lines if (match := re.fullmatch(pattern, line))]
            return bool(found)

        self.until(there)
        return found[-1]

    def at(self, pattern: str) -> None:
        """Redraw until the cursor's line contains `pattern`."""
        self.until(lambda: re.search(pattern, self.line))

    def prompts(self, prompt: str) -> None:
        """Redraw until the cursor's line equals this one: `rank 0 of 1 > ` and the typed text."""
        expected = prompt.replace(">", SIGN).rstrip()
        self.until(lambda: self.line == expected)

    def finish(self, number: int | None = None) -> int:
        """Send the signal `number`, wait for the process to end; returns the exit code."""
        if number is not None:
            self.process.send_signal(number)
        self.until(lambda: self.process.poll() is not None)
        self.look()
        return self.process.returncode

    @property
    def restored(self) -> bool:
        """Whether the terminal is set as it was before, with its cursor shown and bracketed paste off."""
        off = self.raw.rfind(b"\x1b[?2004l") >= self.raw.rfind(b"\x1b[?2004h")
        return termios.tcgetattr(self.end) == self.before and off and not self._screen.cursor.hidden
