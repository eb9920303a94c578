"""`rankmux-server`: answers --version at once and leaves the rest to `kick`, `room` or `serving`, which import more."""

from __future__ import annotations

import sys

from .shared.extension import with_extension
from .shared.versions import answered

__all__ = ["main"]

_PROGRAM = "rankmux-server"


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
    if arguments[:1] == ["kick"]:
        from .kick import main as kick

        return kick(arguments[1:])
    if arguments[:1] == ["room"]:
        from .room import main as room

        return room(arguments[1:])
    from .serving import main as serve

    return serve(arguments)


if __name__ == "__main__":
    sys.exit(main())
