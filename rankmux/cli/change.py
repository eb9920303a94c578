"""`rankmux-server set KEY=VALUE ...`: changes settings of a running server, all of them or none.

Exit codes: 0 changed, 2 wrong usage, 4 refused, 5 no answer.
"""

from __future__ import annotations

import argparse
from urllib.parse import urlencode

from .shared.exit_codes import Exit
from .shared.operating import WHERE, Gone, ask, complain, operating_parser, say, unexpected

__all__ = ["main", "parser"]

_PROGRAM = "rankmux-server set"
_CHANGED, _REFUSED, _BAD = 200, 409, 400

_EPILOG = f"""\
All the settings are changed, or none. docs/settings.md says of each whether it can change while the server runs. The
change is lost with a restart: write it into the configuration file, too. With fewer seats than members nobody has to
go, but nobody new is admitted until there is room. In a cluster, settings that all servers must have in common (such as
seats) cannot change.

{WHERE}

examples:
  rankmux-server set seats=200
  rankmux-server set --admin-unix /run/rankmux-server/admin log_level=debug slow_consumer=evict

exit codes:
  0  changed
  2  usage, or no Unix socket is configured
  4  refused, and nothing is changed: no such setting, a wrong value, or it cannot change while the server runs
  5  no answer: the server is not running, or the socket is not yours to open
"""


def main(argv: list[str]) -> int:
    """Change the settings; the exit code."""
    arguments = parser().parse_args(argv)
    try:
        status, text = ask(_PROGRAM, arguments, "POST", "/set?" + urlencode(arguments.change))
    except Gone as gone:
        return gone.code
    if status in (_REFUSED, _BAD):
        return complain(_PROGRAM, Exit.REFUSED, *text.splitlines())
    if status != _CHANGED:
        return unexpected(_PROGRAM, arguments, status, text)
    say(_PROGRAM, *text.splitlines())
    return Exit.OK


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = operating_parser("set", "Changes settings of a running server.", _EPILOG)
    parser.add_argument(
        "change", type=_pair, nargs="+", metavar="KEY=VALUE", help="a setting and its new value"
    )
    return parser


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    return key.strip().removeprefix("--").replace("-", "_"), value.strip()
