"""`rankmux-client`: finds the subcommand; without one, runs the prompt at a terminal and plain lines elsewhere.

Exit codes: 0 ok · 1 failed · 2 wrong usage · 3 timed out · 4 refused or rejected · 5 no connection · 130 interrupted.
A script runs `send` at every turn, so nothing is imported here before it is known to be needed.
"""

from __future__ import annotations

import sys

from .shared.versions import answered, version

TYPE_CHECKING = False  # as of `typing`, which takes a while to import
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

__all__ = ["SUBCOMMANDS", "main", "parser", "subcommand_module"]

SUBCOMMANDS = {
    "hold": "hold a seat, for the others to use",
    "send": "send commands, and show their results",
    "work": "run a program for each command received",
    "wait": "wait for a rank, and run a program with it",
    "who": "show the members, or each change",
    "yield": "step back to the last place",
    "baton": "read or write the note for the next leader",
    "completion": "print completion for a shell",
    "man": "print man pages",
}
"""Each, with what it does, is a module with `parser()` and `main(argv)`."""

_MANUAL = ("completion", "man")
_PROGRAM = "rankmux-client"
_DESCRIPTION = (
    "Joins a rankmux server: executes commands of members above, and sends commands to members below."
)
_EPILOG = """\
A line is a command, executed by all members below you. A target in front of it narrows that down:
  @next CMD    for the member directly below
  @least CMD   for the least loaded member below
  @2 CMD       for the member with rank 2; @1-5,8 for those
  @NAME CMD    for the member with that name; @web-* and @!db-* for those with names like that, and not like that
  @all CMD     for all members below, as without a target; @@CMD is a command that begins with @
At a terminal there is a prompt (with the extra `cli`: {install}); /help explains it.

examples:
  rankmux-client --name ada
  printf 'print\\n' | rankmux-client --port 7117
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run rankmux-client; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if answered(_PROGRAM, arguments):
            return 0
        from .shared.extension import with_extension

        return with_extension(_PROGRAM, lambda: _main(arguments))
    except KeyboardInterrupt:  # before, or in spite of, a subcommand's own handling
        return 130


def _main(arguments: list[str]) -> int:
    from importlib import import_module

    from .shared.inherited import set_right

    set_right()
    if arguments and arguments[0] in SUBCOMMANDS:
        code: int = import_module(subcommand_module(arguments[0])).main(arguments[1:])
        return code
    plain = parser()
    known, others = plain.parse_known_args(arguments)
    if others:
        plain.error(_misplaced(others, plain))
    if not known.plain and (prompt := _prompt()) is not None:
        return prompt(known)
    from .commands.lines import run

    return run(known)


def subcommand_module(name: str) -> str:
    """The module of a subcommand."""
    module = "yielding" if name == "yield" else name  # a module cannot have the name of a keyword
    return f"rankmux.cli.{'manual' if name in _MANUAL else 'commands'}.{module}"


def _misplaced(words: list[str], plain: argparse.ArgumentParser) -> str:
    """The complaint about words that rankmux-client has no use for without a subcommand, with advice."""
    named = [word for word in words if word in SUBCOMMANDS]
    if named:
        return f"{named[0]} has to be the first word: rankmux-client {named[0]} ..."
    from .shared.parsers import unknown_words

    return "; ".join(map(str, unknown_words(words, plain, tuple(SUBCOMMANDS))))


def parser() -> argparse.ArgumentParser:
    """The flags of rankmux-client without a subcommand."""
    from ..system.extras import how_to_get
    from .shared.connection_flags import add_connection_flags
    from .shared.flags import add_offer_flag, add_reconnect_flag
    from .shared.parsers import Form, Parser, subcommands_text

    parser = Parser(
        prog=_PROGRAM,
        usage=f"{_PROGRAM} SUBCOMMAND ...\n       {_PROGRAM} [FLAG ...]",
        description=f"{subcommands_text(SUBCOMMANDS)}\n\n{_DESCRIPTION}",
        epilog=_EPILOG.format(install=how_to_get("cli")),
        formatter_class=Form,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version(_PROGRAM))
    add_offer_flag(parser, default="none")
    add_reconnect_flag(parser)
    parser.add_argument(
        "--plain",
        action="store_true",
        help="no prompt: a line in, a line out, as through a pipe or where TERM is dumb",
    )
    parser.add_argument(
        "--no-history",
        dest="history",
        action="store_false",
        help="keep no history of lines typed at the prompt (default: in $XDG_STATE_HOME/rankmux/history,"
        " or in the file named by RANKMUX_HISTORY; empty for none)",
    )
    add_connection_flags(parser)
    return parser


def _prompt() -> Callable[[argparse.Namespace], int] | None:
    """The function that runs the prompt; None where there can be none."""
    import os

    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if not at_terminal or os.environ.get("TERM", "dumb") in {"", "dumb"}:
        return None
    try:
        from .prompt.prompt import run
    except ModuleNotFoundError as error:
        if error.name != "prompt_toolkit":
            raise
        from ..system.extras import how_to_get

        print(f"For a prompt with history and completion: {how_to_get('cli')}", file=sys.stderr)
        return None
    return run


if __name__ == "__main__":
    sys.exit(main())
