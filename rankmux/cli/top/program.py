"""`rankmux-top`: the members of a server in a terminal, sorted by the column of your choice.

Polls `live.json` of the admin endpoint, and knows nothing else of the server. Exit codes: 0 done, 1 no answer, 2 usage.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import select
import signal
import socket
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

from ... import __version__
from ...errors import ArgumentError
from ..shared.client_words import escaped
from ..shared.flags import number_from, seconds

__all__ = ["main", "parser"]

_DEFAULT = "http://127.0.0.1:7118/"
_SORTS = ("rank", "load", "queue", "age", "activity")
_BY_KEY = {"r": "rank", "l": "load", "u": "queue", "a": "age", "t": "activity"}
_STEPS = {  # lines and pages to scroll by; terminals send the arrow keys in two forms
    "j": (1, 0),
    "\x1b[B": (1, 0),
    "\x1bOB": (1, 0),
    "k": (-1, 0),
    "\x1b[A": (-1, 0),
    "\x1bOA": (-1, 0),
    " ": (0, 1),
    "\x1b[6~": (0, 1),
    "b": (0, -1),
    "\x1b[5~": (0, -1),
}
_BEGINNING = ("g", "\x1b[H", "\x1bOH", "\x1b[1~")
_TIMEOUT_S = 5.0
_OTHER_LINES = 8  # above and below the rows
# One match per key: a key held down comes several times in one read.
_TYPED = re.compile(r"\x1b(?:\[[0-9;]*[ -/]*[@-~]|O.)|.", re.DOTALL)
_FAR = 10**12  # asks for the events after this number, that is, for none


class _NoAnswer(Exception):
    pass


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)


class _Endpoint:
    """A client of the admin endpoint, with one connection that is renewed when lost."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._connection = _connection(where)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(self, first: int, count: int, sort: str) -> dict[str, Any]:
        """The totals, and `count` members from `first` on in that order."""
        path = f"/live.json?first={first}&count={count}&sort={sort}&after={_FAR}&closed_after={_FAR}"
        for attempt in (1, 2):
            try:
                self._connection.request("GET", path)
                response = self._connection.getresponse()
                body = response.read()
                if response.status != 200:
                    raise _NoAnswer(
                        f"{response.status}: {escaped(body[:200].decode(errors='replace').strip())}"
                    )
                news = json.loads(body)
                if not isinstance(news, dict) or "totals" not in news:
                    raise _NoAnswer("not a rankmux server")
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._connection.close()
                if attempt == 2 or not isinstance(error, (http.client.RemoteDisconnected, ConnectionError)):
                    raise _NoAnswer(escaped(str(error)) or type(error).__name__) from None
            else:
                return news
        raise AssertionError


def main(argv: list[str] | None = None) -> int:
    """Show the members until `q`; the exit code."""
    arguments = parser().parse_args(argv)
    try:
        from .screen import Screen
    except ImportError as error:
        print(
            f"rankmux-top: requires {error.name}; install it with pip install 'rankmux[top]'", file=sys.stderr
        )
        return 2
    try:
        endpoint = _Endpoint(arguments.where)
    except ArgumentError as error:
        print(f"rankmux-top: {error}", file=sys.stderr)
        return 2
    screen = Screen(endpoint.where)
    with closing(endpoint):
        if arguments.once or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return _once(endpoint, screen, arguments)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way the terminal is restored
        try:
            with screen.live() as show, _keys() as keys:
                return _watch(endpoint, screen, show, keys, arguments)
        except KeyboardInterrupt:
            return 0


def _once(endpoint: _Endpoint, screen: Any, arguments: argparse.Namespace) -> int:
    try:
        screen.take(endpoint.ask(0, arguments.count, arguments.sort))
    except _NoAnswer as error:
        print(f"rankmux-top: no answer from {endpoint.where}: {error}", file=sys.stderr)
        return 1
    screen.print(arguments.sort)
    return 0


def _watch(endpoint: _Endpoint, screen: Any, show: Any, keys: int, arguments: argparse.Namespace) -> int:
    sort, first, following = arguments.sort, 0, 0.0
    while True:
        rows = max(1, os.get_terminal_size().lines - _OTHER_LINES)
        if time.monotonic() >= following:
            following = time.monotonic() + arguments.interval
            try:
                news = endpoint.ask(first, rows, sort)
                screen.take(news)
                first = max(0, min(first, news["totals"]["members"] - 1))
            except _NoAnswer as error:
                screen.lost(str(error))
        show(screen.draw(sort, rows))
        if not select.select([keys], [], [], max(0.0, following - time.monotonic()))[0]:
            continue
        typed = _TYPED.findall(os.read(keys, 1024).decode(errors="replace"))
        if not typed:
            return 0
        for key in typed:
            if key in ("q", "\x03", "\x04"):
                return 0
            if key in _BY_KEY:
                sort, first = _BY_KEY[key], 0
            elif key in _STEPS:
                lines, pages = _STEPS[key]
                first = max(0, min(first + lines + pages * rows, screen.members - 1))
            elif key in _BEGINNING:
                first = 0
            else:
                continue
            following = 0.0


@contextmanager
def _keys() -> Iterator[int]:
    """Read single keys without echo; the terminal's mode is restored at the end."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _connection(where: str) -> http.client.HTTPConnection:
    if where.startswith(("unix:", "/")):
        return _UnixConnection(where.removeprefix("unix:"))
    try:
        parts = urlsplit(where if "//" in where else f"//{where}" if ":" in where else f"//127.0.0.1:{where}")
        if parts.scheme not in ("", "http") or not parts.hostname:
            raise ValueError
        return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=_TIMEOUT_S)
    except ValueError:
        expected = "expected http://HOST:PORT/, HOST:PORT, a PORT on loopback, or unix:PATH"
        raise ArgumentError("WHERE", where, expected) from None


_EPILOG = """\
keys:
  r, l, u, a, t  sort by rank, load, queue, age, activity
  arrows, j, k, page keys, space, b  scroll
  g, Home  back to the beginning
  q  quit

examples:
  rankmux-top
  rankmux-top 7118 --sort queue
  rankmux-top unix:/run/rankmux/admin --once --count 20

exit codes:
  0  done
  1  no answer
  2  usage, or rich is not installed
"""


def parser() -> argparse.ArgumentParser:
    """The parser."""
    parser = argparse.ArgumentParser(
        prog="rankmux-top",
        description="Shows the members of a rankmux server that was started with --admin or --admin-unix.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rankmux-top {__version__}")
    parser.add_argument(
        "where",
        nargs="?",
        metavar="WHERE",
        default=os.environ.get("RANKMUX_ADMIN_URL", _DEFAULT),
        help=f"HOST:PORT, PORT, a URL, or unix:PATH of the admin endpoint (default: {_DEFAULT}, or RANKMUX_ADMIN_URL)",
    )
    parser.add_argument("--once", action="store_true", help="print the members once, as text, and exit")
    parser.add_argument("--sort", choices=_SORTS, default="rank", help="column to sort by (default: rank)")
    parser.add_argument(
        "--count",
        type=number_from(0),
        default=100,
        metavar="N",
        help="with --once: maximum number of members (default: 100)",
    )
    parser.add_argument(
        "--interval", type=seconds, default=1.0, metavar="S", help="seconds between updates (default: 1)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
