"""`rankmux-client`: flags and exit codes; which form of the client runs: a subcommand, the prompt, or plain lines.

Without a subcommand it is sender and executor at once, at a terminal or through a pipe. Exit codes: 0 all ok · 1 some
failed · 2 usage · 3 timed out · 4 refused, nobody below or rejected · 5 could not connect, full or not let in.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from .. import __version__
from ..client.connect import connected_socket
from ..client.link import StreamLink
from ..client.stream import Stream
from ..core.client.session import ClientSession
from ..errors import ConnectionLost, LocalError
from .commands.lines import Lines, interrupt_on_signals
from .shared.connection_flags import Exit, add_connection_flags, address_of, token_reader
from .shared.flags import SUBCOMMANDS, add_offer_flag, add_reconnect_flag
from .shared.streams import open_missing
from .shared.wording import complain

__all__ = ["main", "parser"]

_EPILOG = """\
A line is a command, executed by all members below you. In front of it:
  @next CMD    for the one directly below
  @least CMD   for the least loaded one below
  @2 CMD       for the one with rank 2
  @all CMD     for all below, as without; @@CMD is a command that begins with @
At a terminal there is a prompt (with `pip install 'rankmux[cli]'`); /help tells what it understands.

examples:
  rankmux-client --name ada
  printf 'print\\n' | rankmux-client --port 7117

subcommands, for scripts (each has --help):
  hold, send, work, wait, who; completion, man
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run rankmux-client; the exit code."""
    open_missing()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in SUBCOMMANDS:
        module = import_module(SUBCOMMANDS[arguments[0]])
        code: int = module.main(arguments[1:])
        return code
    plain = parser()
    known, others = plain.parse_known_args(arguments)
    if others:
        plain.error(_misplaced(others))
    return _main(known)


def _misplaced(words: Sequence[str]) -> str:
    """What is wrong with words that rankmux-client alone has no use for, and what to do about it."""
    named = [word for word in words if word in SUBCOMMANDS]
    if named:
        return f"{named[0]} has to be the first word: rankmux-client {named[0]} ..."
    if words[0].startswith("-"):
        return f"unrecognized arguments: {' '.join(words)}"
    return f"there is no subcommand {words[0]!r}, there are {', '.join(SUBCOMMANDS)}"


def parser() -> argparse.ArgumentParser:
    """The flags of rankmux-client without a subcommand."""
    parser = argparse.ArgumentParser(
        prog="rankmux-client",
        description="Joins a rankmux server: takes commands from its seniors, and gives them to its juniors.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rankmux-client {__version__}")
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
        help="keep no history of what is typed at the prompt (default: in $XDG_STATE_HOME/rankmux/history,"
        " or in the file that RANKMUX_HISTORY names; empty for none)",
    )
    add_connection_flags(parser)
    return parser


def _main(arguments: argparse.Namespace) -> int:
    try:
        if not arguments.plain and (run := _prompt()) is not None:
            return run(arguments)
        if arguments.reconnect:
            complain(
                "--reconnect needs the prompt, and these are plain lines; in scripts, use hold or work with it"
            )
            return Exit.USAGE
        address = address_of(arguments)
        session = ClientSession(arguments.name, token_reader(arguments)())
        link = StreamLink(session, Stream(connected_socket(address, arguments.timeout)))
    except LocalError as error:
        complain(str(error))
        return Exit.USAGE
    except ConnectionLost as error:
        complain(error.reason)
        return Exit.NOT_CONNECTED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    interrupt_on_signals()
    return Lines(link, sys.stdin.fileno(), sys.stdout, arguments.timeout, seat=arguments.seat).run()


def _prompt() -> Callable[[argparse.Namespace], int] | None:
    """What runs the prompt, where there can be one."""
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if not at_terminal or os.environ.get("TERM", "dumb") in {"", "dumb"}:
        return None
    try:
        from .prompt.prompt import prompted
    except ModuleNotFoundError as error:
        if error.name != "prompt_toolkit":
            raise
        print("For a prompt with history and completion: pip install 'rankmux[cli]'", file=sys.stderr)
        return None
    return prompted


if __name__ == "__main__":
    sys.exit(main())
