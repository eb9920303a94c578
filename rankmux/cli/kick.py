"""`rankmux-server kick TICKET`: throws a member out, by way of the Unix socket of a running server's admin endpoint.

Exit codes: 0 thrown out, 2 wrong usage, 4 no seat has that ticket, 5 no answer.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
from contextlib import closing

from ..config import load
from ..errors import ConfigError
from ..system.reasons import unix_reason
from ..variables import value_of
from .shared.admin_socket import UnixConnection, request_kick
from .shared.exit_codes import Exit
from .shared.parsers import Form, Parser
from .shared.wording import escaped

__all__ = ["main", "parser"]

_TICKET_MAX = (1 << 64) - 1
_THROWN_OUT, _NO_SUCH_TICKET = 204, 404

_EPILOG = """\
The ticket is in rankmux-client who, rankmux-top, /room.json and the log. The member gets ERROR KICKED and does not
reconnect. A seat that is kept ends too, whether its member is absent or not. The Unix socket is that of --admin-unix,
of RANKMUX_ADMIN_UNIX, or of admin_unix in the file named by --config or RANKMUX_CONFIG, in this order. Only the
server's user and root may open it.

examples:
  rankmux-server kick 1790000000000003
  rankmux-server kick --admin-unix /run/rankmux-server/admin 1790000000000003

exit codes:
  0  thrown out
  2  usage, or no Unix socket is configured
  4  no seat has that ticket
  5  no answer: the server is not running or shutting down, or the socket is not yours to open
"""


def main(argv: list[str]) -> int:
    """Throw the member out; the exit code."""
    arguments = parser().parse_args(argv)
    try:
        path = _socket(arguments)
    except ConfigError as error:
        return _complain(Exit.USAGE, *str(error).splitlines())
    if not path:
        text = "where is the server? Give --admin-unix PATH, or --config FILE with admin_unix in it"
        return _complain(Exit.USAGE, text)
    try:
        with closing(UnixConnection(path)) as connection:
            status, text = request_kick(connection, arguments.ticket)
    except (OSError, http.client.HTTPException) as error:
        why = unix_reason(path, error) if isinstance(error, OSError) else str(error) or type(error).__name__
        return _complain(Exit.NOT_CONNECTED, f"no answer from unix:{path}: {why}; is the server running?")
    if status == _THROWN_OUT:
        return Exit.OK
    if status == _NO_SUCH_TICKET and str(arguments.ticket) in text:
        return _complain(Exit.REFUSED, text)
    return _complain(Exit.NOT_CONNECTED, f"unix:{path} answers {status}: {text}")


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = Parser(
        prog="rankmux-server kick",
        description="Throws the member with that ticket out of a running server.",
        epilog=_EPILOG,
        formatter_class=Form,
        allow_abbrev=False,
    )
    parser.add_argument("ticket", type=_ticket, metavar="TICKET", help="the ticket of the member")
    parser.add_argument("--admin-unix", metavar="PATH", help="Unix socket of the server's admin endpoint")
    parser.add_argument("--config", metavar="FILE", help="the server's TOML file, with admin_unix in it")
    return parser


def _ticket(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 20 and 0 < int(text) <= _TICKET_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a ticket, a whole number from 1 on, got {text!r}")


def _socket(arguments: argparse.Namespace) -> str:
    """The path of the socket; empty if nothing names one. Raises ConfigError."""
    path = arguments.admin_unix or value_of(os.environ, "RANKMUX_ADMIN_UNIX")
    if not path and (file := arguments.config or value_of(os.environ, "RANKMUX_CONFIG")):
        path = load({}, {}, file)[0].admin_unix
    return path or ""


def _complain(code: Exit, *texts: str) -> Exit:
    for text in texts:
        print(f"rankmux-server kick: {escaped(text)}", file=sys.stderr)
    return code
