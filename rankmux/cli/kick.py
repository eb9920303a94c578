"""`rankmux-server kick TICKET`: throws a member out, by way of the Unix socket of a running server's admin endpoint.

Exit codes: 0 thrown out, 2 wrong usage, 4 no seat has that ticket, 5 no answer.
"""

from __future__ import annotations

import argparse

from .shared.exit_codes import Exit
from .shared.operating import WHERE, Gone, ask, complain, operating_parser, unexpected

__all__ = ["main", "parser"]

_PROGRAM = "rankmux-server kick"
_TICKET_MAX = (1 << 64) - 1
_THROWN_OUT, _NO_SUCH_TICKET = 204, 404

_EPILOG = f"""\
The ticket is in rankmux-client who, rankmux-top, /room.json and the log. The member gets ERROR KICKED and does not
reconnect. A seat that is kept ends too, whether its member is absent or not.

{WHERE}

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
        status, text = ask(_PROGRAM, arguments, "POST", f"/kick?ticket={arguments.ticket}")
    except Gone as gone:
        return gone.code
    if status == _THROWN_OUT:
        return Exit.OK
    if status == _NO_SUCH_TICKET and str(arguments.ticket) in text:
        return complain(_PROGRAM, Exit.REFUSED, text)
    return unexpected(_PROGRAM, arguments, status, text)


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    description = "Throws the member with that ticket out of a running server."
    parser = operating_parser("kick", description, _EPILOG)
    parser.add_argument("ticket", type=_ticket, metavar="TICKET", help="the ticket of the member")
    return parser


def _ticket(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 20 and 0 < int(text) <= _TICKET_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a ticket, a whole number from 1 on, got {text!r}")
