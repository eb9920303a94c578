"""The answer to --version, which each program gives before it imports anything else."""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

from ... import __path__, __version__

TYPE_CHECKING = False  # as of `typing`, which takes a while to import
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["answered", "version"]


def answered(program: str, arguments: Sequence[str]) -> bool:
    """Whether the arguments ask for the version alone, which is on standard output then."""
    if arguments != ["--version"]:
        return False
    print(version(program))
    return True


def version(program: str) -> str:
    """The version line of the program. For rankmux-server it raises as the import of the server would."""
    if program != "rankmux-server":
        return f"{program} {__version__}"
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{program} {__version__} ({_twin()} framing, Python {python})"


def _twin() -> str:
    """The twin that a server would run. Its own imports take longer than all the rest, so it is only looked at."""
    mode = os.environ.get("RANKMUX_EXTENSION") or "auto"
    if mode == "auto" and _can_be_loaded("rankmux._framing"):
        return "extension"
    from ..._twin import TWIN

    return TWIN


def _can_be_loaded(name: str) -> bool:
    """Whether the system loads that extension module; its code is not run."""
    spec = PathFinder.find_spec(name, __path__)
    if spec is None or spec.loader is None:
        return False
    try:
        return spec.loader.create_module(spec) is not None
    except ImportError:
        return False
