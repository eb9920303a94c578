"""`rankmux-server`: answers --version at once and hands everything else to `serving`, which takes longer to import."""

from __future__ import annotations

import sys

from .shared.extension import with_extension
from .shared.inherited import set_right

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run rankmux-server; the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    set_right()
    try:
        return with_extension("rankmux-server", lambda: _main(arguments))
    except KeyboardInterrupt:  # before the server handles signals itself
        return 130


def _main(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        from .shared.versions import server_version

        print(server_version())
        return 0
    from .serving import main as serve

    return serve(arguments)


if __name__ == "__main__":
    sys.exit(main())
