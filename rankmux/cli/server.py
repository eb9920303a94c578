"""`rankmux-server`: answers --version at once and hands everything else to `serving`, which takes longer to import."""

from __future__ import annotations

import sys

from .shared.inherited import set_right

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run rankmux-server; the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    set_right()
    try:
        if arguments == ["--version"]:
            from .shared.versions import server_version

            print(server_version())
            return 0
        from .serving import main as serve

        return serve(arguments)
    except KeyboardInterrupt:  # before the server handles signals itself
        return 130


if __name__ == "__main__":
    sys.exit(main())
