"""`python -m rankmux server ...`, and the same with `client`, `top` and `demo`."""

from __future__ import annotations

import sys
from importlib import import_module

_MODULES = {
    "server": "rankmux.cli.server",
    "client": "rankmux.cli.client",
    "top": "rankmux.cli.top.program",
    "demo": "rankmux.cli.demo",
}


def main() -> int:
    """Run what the first argument names; the exit code."""
    if len(sys.argv) < 2 or sys.argv[1] not in _MODULES:
        asked_for_help = sys.argv[1:] in (["--help"], ["-h"])
        print(
            f"usage: python -m rankmux {{{','.join(_MODULES)}}} ...",
            file=sys.stdout if asked_for_help else sys.stderr,
        )
        return 0 if asked_for_help else 2
    code: int = import_module(_MODULES[sys.argv[1]]).main(sys.argv[2:])
    return code


if __name__ == "__main__":
    sys.exit(main())
