"""The choice of a twin: each hot loop is defined in pure Python and may be replaced by its compiled counterpart.

`RANKMUX_EXTENSION` chooses at import: `0` never uses the extension, `1` uses it or raises ImportError, `auto` (the
default) uses it where it was built. All loops run compiled or none does.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, TypeVar

from .errors import ConfigError

__all__ = ["PURE", "TWIN", "twin"]

T = TypeVar("T")

PURE: dict[str, Any] = {}
"""The pure definitions, by name."""


def _choose() -> str:
    mode = os.environ.get("RANKMUX_EXTENSION", "auto")
    if mode not in ("0", "1", "auto"):
        raise ConfigError("RANKMUX_EXTENSION", mode, "0 (never), 1 (or fail) or auto is expected")
    if mode == "0":
        return "pure"
    try:
        import_module("rankmux._framing")
    except ImportError:
        if mode == "1":
            raise
        return "pure"
    return "extension"


TWIN = _choose()
"""`"extension"` or `"pure"`."""


def twin(pure: T) -> T:
    """Decorates a pure definition: the compiled object of the same name where the extension runs, else itself."""
    name: str = pure.__name__  # type: ignore[attr-defined]
    PURE[name] = pure
    if TWIN == "pure":
        return pure
    compiled: T = getattr(import_module("rankmux._framing"), name)
    return compiled
