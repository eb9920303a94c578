"""The program `rankmux-server`: answers --version at once; subcommands and `serving`, which import more, the rest."""

from __future__ import annotations

import sys
from importlib import import_module

from .shared.extension import with_extension
from .shared.versions import answered

__all__ = ["SUBCOMMANDS", "main"]

_PROGRAM = "rankmux-server"
SUBCOMMANDS = {"status": "status", "kick": "kick", "set": "change", "drain": "drain", "room": "room"}
"""The subcommands, each with its module."""


def main(argv: list[str] | None = None) -> int:
    """Run rankmux-server; the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        return with_extension(_PROGRAM, lambda: _main(arguments))
    except KeyboardInterrupt:  # before the server handles signals itself
        return 130


def _main(arguments: list[str]) -> int:
    if answered(_PROGRAM, arguments):
        return 0
    from .shared.inherited import set_right

    set_right()
    if arguments and (module := SUBCOMMANDS.get(arguments[0])):
        from .shared.streams import open_missing

        open_missing()
        code: int = import_module(f"rankmux.cli.{module}").main(arguments[1:])
        return code
    from .serving import main as serve

    return serve(arguments)


if __name__ == "__main__":
    sys.exit(main())
