"""The subcommands of rankmux-server for a running server: their common flags, and one request to its Unix socket.

Exit codes of all of them: 2 wrong usage, 4 refused by the server, 5 no answer.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
from contextlib import closing

from ...errors import ConfigError
from ...system.printable import escaped
from ...system.reasons import unix_reason
from ...variables import value_of
from .admin_socket import UnixConnection, request
from .exit_codes import Exit
from .parsers import Form, Parser
from .sources import load
from .streams import Unwritable, put

__all__ = ["WHERE", "Gone", "ask", "complain", "operating_parser", "say", "socket_of", "unexpected"]

WHERE = """\
The Unix socket is that of --admin-unix, of RANKMUX_ADMIN_UNIX, or of admin_unix in the file named by --config or
RANKMUX_CONFIG, in this order. Only the server's user and root may open it."""


class Gone(Exception):
    """There is no answer; the reason was printed, and `code` is the exit code."""

    def __init__(self, code: Exit) -> None:
        super().__init__(code)
        self.code = code


def operating_parser(name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A parser for `rankmux-server NAME`, with the flags that say where the server is."""
    parser = Parser(
        prog=f"rankmux-server {name}",
        description=description,
        epilog=epilog,
        formatter_class=Form,
        allow_abbrev=False,
    )
    parser.add_argument("--admin-unix", metavar="PATH", help="Unix socket of the server's admin endpoint")
    parser.add_argument("--config", metavar="FILE", help="the server's TOML file, with admin_unix in it")
    return parser


def ask(program: str, arguments: argparse.Namespace, method: str, target: str) -> tuple[int, str]:
    """Send one request; status and text of the answer, the text unescaped. Raises Gone."""
    path = socket_of(program, arguments)
    try:
        with closing(UnixConnection(path)) as connection:
            return request(connection, method, target)
    except (OSError, http.client.HTTPException) as error:
        why = unix_reason(path, error) if isinstance(error, OSError) else str(error) or type(error).__name__
        text = f"no answer from unix:{path}: {why}; is the server running?"
        raise Gone(complain(program, Exit.NOT_CONNECTED, text)) from None


def unexpected(program: str, arguments: argparse.Namespace, status: int, text: str) -> Exit:
    """Complain of an answer that the server of this release does not give."""
    return complain(
        program, Exit.NOT_CONNECTED, f"unix:{socket_of(program, arguments)} answers {status}: {text}"
    )


def say(program: str, *texts: str) -> Exit:
    """Print `texts` to standard output; returns the exit code."""
    try:
        put(sys.stdout, "".join(f"{escaped(text)}\n" for text in texts))
    except Unwritable as error:
        if not error.reader_gone:
            complain(program, Exit.FAILED, f"cannot write to standard output: {error}")
        return Exit.FAILED
    return Exit.OK


def complain(program: str, code: Exit, *texts: str) -> Exit:
    """Print `texts` to standard error; returns `code`."""
    for text in texts:
        print(f"{program}: {escaped(text)}", file=sys.stderr)
    return code


def socket_of(program: str, arguments: argparse.Namespace) -> str:
    """The path of the socket. Raises Gone when nothing names one."""
    path = arguments.admin_unix or value_of(os.environ, "RANKMUX_ADMIN_UNIX")
    if not path and (file := arguments.config or value_of(os.environ, "RANKMUX_CONFIG")):
        try:
            path = load({}, {}, file)[0].admin_unix
        except ConfigError as error:
            raise Gone(complain(program, Exit.USAGE, *str(error).splitlines())) from None
    if not path:
        text = "where is the server? Give --admin-unix PATH, or --config FILE with admin_unix in it"
        raise Gone(complain(program, Exit.USAGE, text))
    return path
