"""The refresh-and-key loop of rankmux-top."""

from __future__ import annotations

import argparse
import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from ...errors import ArgumentError
from ...system.extras import how_to_get
from .endpoint import Endpoint, NoAnswer
from .kicking import Kicking
from .view import View

__all__ = ["run"]

_NO_KICK = "to throw a member out, connect to the Unix socket of --admin-unix: rankmux-top unix:PATH"
_OTHER_LINES = 8  # what stands above and below the rows
_TYPED = re.compile(
    r"\x1b(?:\[[0-9;]*[ -/]*[@-~]|O.)|.", re.DOTALL
)  # a key each: those held down come several at a time


def run(arguments: argparse.Namespace) -> int:
    """Show the members until `q`, or once; the exit code."""
    try:
        from .screen import Screen
    except ImportError as error:
        print(f"rankmux-top: it needs {error.name}: {how_to_get('top')}", file=sys.stderr)
        return 2
    try:
        endpoint = Endpoint(arguments.where)
    except ArgumentError as error:
        print(f"rankmux-top: {error}", file=sys.stderr)
        return 2
    screen = Screen(endpoint.where)
    with closing(endpoint):
        if arguments.once or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return _once(endpoint, screen, arguments)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # the terminal is given back either way
        try:
            with screen.live() as show, _keys() as keys:
                return _watch(endpoint, screen, show, keys, arguments)
        except KeyboardInterrupt:
            return 0


def _once(endpoint: Endpoint, screen: Any, arguments: argparse.Namespace) -> int:
    view = View(arguments.sort, arguments.find, reverse=arguments.reverse)
    try:
        screen.take(endpoint.ask(0, arguments.count, view.sort, view.find, reverse=view.reverse))
    except NoAnswer as error:
        print(f"rankmux-top: no answer from {endpoint.where}: {error}", file=sys.stderr)
        if error.hint:
            print(f"rankmux-top: {error.hint}", file=sys.stderr)
        return 1
    screen.print(view)
    return 0


def _watch(endpoint: Endpoint, screen: Any, show: Any, keys: int, arguments: argparse.Namespace) -> int:
    view, following = View(arguments.sort, arguments.find, reverse=arguments.reverse), 0.0
    kicking: Kicking | None = None
    while True:
        rows = max(1, os.get_terminal_size().lines - _OTHER_LINES)
        if time.monotonic() >= following:
            following = time.monotonic() + arguments.interval
            try:
                screen.take(endpoint.ask(view.first, rows, view.sort, view.find, reverse=view.reverse))
                view.clamp(screen.found)
            except NoAnswer as error:
                screen.lost(str(error), error.hint)
        if kicking is not None:
            screen.note = kicking.line
        elif view.typing:
            screen.note = view.line
        show(screen.draw(view, rows))
        if not select.select([keys], [], [], max(0.0, following - time.monotonic()))[0]:
            continue
        typed = _TYPED.findall(os.read(keys, 1024).decode(errors="replace"))
        if not typed:
            return 0
        for key in typed:
            if kicking is not None:
                kicking.type(key, screen.rows)
                screen.note = ""
                if kicking.over:
                    screen.note = _kick(endpoint, kicking.ticket) if kicking.ticket else ""
                    kicking, following = None, 0.0
                continue
            screen.note = ""
            if key == "x" and not view.typing:
                if endpoint.may_kick:
                    kicking = Kicking()
                else:
                    screen.note = _NO_KICK
            elif key in ("q", "\x03", "\x04") and not view.typing:
                return 0
            elif view.type(key, rows, screen.found):
                following = 0.0


def _kick(endpoint: Endpoint, ticket: int) -> str:
    """Throw the member out; a line about it."""
    try:
        return endpoint.kick(ticket) or f"thrown out: ticket {ticket}"
    except NoAnswer as error:
        return f"no answer, so ticket {ticket} may be thrown out or not: {error}"


@contextmanager
def _keys() -> Iterator[int]:
    """Each key at once and unseen, until the end; what the terminal was before, it is again."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
