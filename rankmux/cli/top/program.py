"""`rankmux-top`: the members in a terminal, as the admin endpoint lists them, sorted by a key.

Exit codes: 0 done, 1 no answer, 2 wrong usage. What takes long to import waits until the flags are read.
"""

from __future__ import annotations

import sys

from ..shared.versions import answered, version

TYPE_CHECKING = False  # as of `typing`, which takes a while to import
if TYPE_CHECKING:
    import argparse

__all__ = ["main", "parser"]

_PROGRAM = "rankmux-top"
_DEFAULT = "http://127.0.0.1:7118/"
_SORTS = ("rank", "load", "queue", "age", "activity")


def main(argv: list[str] | None = None) -> int:
    """Show it until `q`; the exit code."""
    try:
        if answered(_PROGRAM, sys.argv[1:] if argv is None else argv):
            return 0
        from ..shared.inherited import set_right

        set_right()
        arguments = parser().parse_args(argv)
        from .watching import run

        return run(arguments)
    except KeyboardInterrupt:
        return 130


_EPILOG = """\
keys:
  r, l, u, a, t  sort by rank, load, queue, age, activity
  R  reverse the order
  /  find members by name, address, rank or ticket; Enter keeps what was typed, Esc shows all again
  arrows, j, k, page keys, space, b  scroll
  g, Home  back to the beginning; G, End  to the end
  x  throw a member out, after a confirmation; only over the Unix socket of --admin-unix
  q  quit

examples:
  rankmux-top
  rankmux-top 7118 --sort queue
  rankmux-top --once --find worker- --sort load --reverse
  rankmux-top unix:/run/rankmux/admin --once --count 20

exit codes:
  0  done
  1  no answer
  2  usage, or rich is not installed
"""


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    import os

    from ..shared.flags import number_from, seconds
    from ..shared.parsers import Form, Parser

    parser = Parser(
        prog=_PROGRAM,
        description="Shows the members of a rankmux server that was started with --admin or --admin-unix.",
        epilog=_EPILOG,
        formatter_class=Form,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version(_PROGRAM))
    parser.add_argument(
        "where",
        nargs="?",
        metavar="WHERE",
        default=os.environ.get("RANKMUX_ADMIN_URL") or _DEFAULT,
        help=f"HOST:PORT, PORT, a URL, or unix:PATH of the admin endpoint (default: {_DEFAULT}, or RANKMUX_ADMIN_URL)",
    )
    parser.add_argument("--once", action="store_true", help="show everything once, as text, and exit")
    parser.add_argument("--sort", choices=_SORTS, default="rank", help="what to sort by (default: rank)")
    parser.add_argument("--reverse", action="store_true", help="begin at the other end of that order")
    parser.add_argument(
        "--find",
        default="",
        metavar="TEXT",
        help="only members that have it in name, address, rank or ticket",
    )
    parser.add_argument(
        "--count",
        type=number_from(0),
        default=100,
        metavar="N",
        help="with --once: how many members to show (default: 100)",
    )
    parser.add_argument(
        "--interval", type=seconds, default=1.0, metavar="S", help="seconds between updates (default: 1)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
