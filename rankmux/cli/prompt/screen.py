"""Lines above a prompt that stays: accepted at any rate, written in batches, as fast as the terminal takes them.

What it cannot take is left out, and a line tells how much. It knows nothing of what the lines say.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import Any, TextIO, cast

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Size
from prompt_toolkit.output.color_depth import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth

from ..shared.group_lines import Line
from ..shared.wrapping import wrapped
from .terminal import Terminal

__all__ = ["STYLE", "Screen"]

STYLE = Style.from_dict(
    {
        "dim": "dim",
        "rank": "ansicyan",
        "good": "ansigreen",
        "bad": "ansired",
        "warn": "ansiyellow",
        "news": "ansimagenta bold",
        "prompt": "ansigreen bold",
        "away": "ansired bold",
    }
)
"""The colours; prompt_toolkit leaves them out where NO_COLOR is set."""

_INTERVAL_S = 0.05  # twenty times a second is more than anybody reads
_BATCH_LINES = 500
_WAITING_LINES_MAX = 10_000
_WAITING_CHARACTERS_MAX = 4_000_000


class Screen:
    """The screen of the terminal behind the descriptor `fd`. `app` is set once it is made with `output`."""

    def __init__(self, fd: int) -> None:
        self.app: Application[Any] | None = None
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._terminal = Terminal(fd, self._draw_soon)
        # It never asks where the cursor is: an answer that comes late would be taken for something typed.
        self.output = Vt100_Output(
            cast(TextIO, self._terminal),
            self._size,
            os.environ.get("TERM"),
            default_color_depth=ColorDepth.from_env(),  # NO_COLOR
            enable_cpr=False,
        )
        self._lines: deque[Line] = deque()
        self._characters = 0
        self._left_out = 0
        self._changed = False
        self._drawn_at = self._loop.time() - _INTERVAL_S
        self._waits = False

    def _size(self) -> Size:
        try:
            columns, rows = os.get_terminal_size(self._fd)
        except OSError:
            columns, rows = 0, 0
        return Size(rows=rows or 24, columns=columns or 80)

    @property
    def columns(self) -> int:
        """Its width."""
        return self._size().columns

    def say(self, *lines: Line) -> None:
        """Write `lines` above the prompt, soon."""
        for line in lines:
            self._lines.append(line)
            self._characters += _length(line)
        while len(self._lines) > _WAITING_LINES_MAX or self._characters > _WAITING_CHARACTERS_MAX:
            self._characters -= _length(self._lines.popleft())
            self._left_out += 1
        self.refresh()

    def refresh(self) -> None:
        """Draw the prompt again, soon: what it shows has changed."""
        self._changed = True
        self._draw_soon()

    def close(self) -> None:
        """Write what is left, below what was the prompt, and let the terminal go."""
        self.app = None
        while self._lines:
            self._write()
        self._terminal.close()

    def _draw_soon(self) -> None:
        if not self._changed or self._waits or self._terminal.behind:
            return
        rest_s = self._drawn_at + _INTERVAL_S - self._loop.time()
        if rest_s > 0:
            self._waits = True
            self._loop.call_later(rest_s, self._draw)
        else:
            self._draw()

    def _draw(self) -> None:
        self._waits = False
        if self._terminal.behind:
            return  # it calls `_draw_soon` when it has caught up
        app = self.app
        if app is None or not app.is_running:
            return
        self._drawn_at = self._loop.time()
        if self._lines:
            # Not run_in_terminal: that gives the terminal back for a moment, which then echoes what is typed in it.
            app.renderer.erase()
            self._write()
            app._redraw()
        else:
            app.invalidate()
        self._changed = bool(self._lines)
        self._draw_soon()

    def _write(self) -> None:
        pieces: Line = []
        if self._left_out:
            words = f"… {self._left_out:,} lines are left out here: the terminal was too slow for them"
            pieces += [("class:warn", words), ("", "\n")]
            self._left_out = 0
        for _ in range(min(len(self._lines), _BATCH_LINES)):
            line = self._lines.popleft()
            self._characters -= _length(line)
            for row in wrapped(line, self.columns, get_cwidth):
                pieces += [(f"class:{style}" if style else "", text) for style, text in row]
                pieces.append(("", "\n"))
        print_formatted_text(self.output, cast(Any, pieces), STYLE)


def _length(line: Line) -> int:
    return sum(len(text) for _, text in line)
