"""The complaint about a RANKMUX_EXTENSION that cannot be followed, which any import of the hot loops may meet."""

from __future__ import annotations

import sys

from ...errors import ConfigError

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["with_extension"]

_VARIABLE = "RANKMUX_EXTENSION"
_MODULE = "rankmux._framing"


def with_extension(program: str, run: Callable[[], int]) -> int:
    """The exit code of `run`; 2, after a line on standard error, if there is not the extension that the user wants."""
    try:
        return run()
    except ConfigError as error:
        if error.key != _VARIABLE:
            raise
        text = str(error)
    except ImportError as error:
        if error.name != _MODULE:
            raise
        text = f"{_VARIABLE} is '1', and the extension cannot be loaded: {error}"
    if sys.stderr is not None:  # else it was closed, and `print` would take standard output
        print(f"{program}: {text}", file=sys.stderr)
    return 2
