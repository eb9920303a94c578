"""`rankmux-server drain`: a running server admits nobody any more, lets its members finish, and stops.

Exit codes: 0 stopped, 2 wrong usage, 5 no answer.
"""

from __future__ import annotations

import argparse
import http.client
import time
from contextlib import closing

from .shared.admin_socket import UnixConnection, request
from .shared.exit_codes import Exit
from .shared.operating import WHERE, Gone, ask, operating_parser, say, socket_of, unexpected

__all__ = ["main", "parser"]

_PROGRAM = "rankmux-server drain"
_DRAINING = 202
_POLL_S = 0.2
_WAIT_S = 60
_WAIT_MAX_S = 86_400

_EPILOG = f"""\
New members and observers get ERROR SHUTDOWN from now on, /readyz answers 503, and members may go on: the server waits
until those that are connected to it owe no results, for --wait seconds at most. Then it stops as on SIGTERM: members
get ERROR SHUTDOWN and what is queued for them, and kept seats go into the file of state, if there is one. A member
whose seat is kept may return to it meanwhile; in a cluster it returns at another server.

The command waits for the end. Interrupting it does not end the draining; calling it again with a smaller --wait
shortens it.

{WHERE}

examples:
  rankmux-server drain
  rankmux-server drain --wait 10 --admin-unix /run/rankmux-server/admin

exit codes:
  0  the server has stopped
  2  usage, or no Unix socket is configured
  5  no answer: the server is not running, or the socket is not yours to open
"""


def main(argv: list[str]) -> int:
    """Drain the server, and wait for its end; the exit code."""
    arguments = parser().parse_args(argv)
    target = f"/drain?wait_s={arguments.wait}"
    begun_s = time.monotonic()
    try:
        path = socket_of(_PROGRAM, arguments)
        status, text = ask(_PROGRAM, arguments, "POST", target)
    except Gone as gone:
        return gone.code
    if status != _DRAINING:
        return unexpected(_PROGRAM, arguments, status, text)
    say(_PROGRAM, text)
    last = text
    while (now := _answer(path, target)) is not None:  # once more does not make the wait longer
        last = now or last
        time.sleep(_POLL_S)
    if last.endswith(" 0") or time.monotonic() - begun_s < arguments.wait:
        say(_PROGRAM, "stopped")
    else:
        say(_PROGRAM, f"stopped, as the time was up; {last.partition('; ')[2]}")
    return Exit.OK


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    description = "Has a running server admit nobody any more, let its members finish, and stop."
    parser = operating_parser("drain", description, _EPILOG)
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=_WAIT_S,
        metavar="S",
        help=f"how long members may finish what they owe (default: {_WAIT_S})",
    )
    return parser


def _seconds(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= _WAIT_MAX_S:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number of seconds up to {_WAIT_MAX_S}, got {text!r}")


def _answer(path: str, target: str) -> str | None:
    """The server's answer, empty for another one; None once it is down."""
    try:
        with closing(UnixConnection(path)) as connection:
            status, text = request(connection, "POST", target)
    except TimeoutError:
        return ""
    except (OSError, http.client.HTTPException):
        return None
    return text if status == _DRAINING else ""
