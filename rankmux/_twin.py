"""The choice between the two twins of the hot loops: the compiled extension and pure Python.

`RANKMUX_EXTENSION` chooses at import: `0` the pure twin, `1` the extension or an ImportError, `auto` (the default) the
extension where it was built. A pure definition states the behaviour and stands in the module of its subject; `twin`
puts the compiled object of the same name in its place.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import TypeVar

from .errors import ConfigError

__all__ = ["PURE", "TWIN", "twin"]

T = TypeVar("T")


def _extension() -> ModuleType | None:
    mode = os.environ.get("RANKMUX_EXTENSION") or "auto"
    if mode not in ("0", "1", "auto"):
        raise ConfigError("RANKMUX_EXTENSION", mode, "expected 0 (never), 1 (or fail) or auto")
    if mode == "0":
        return None
    try:
        return importlib.import_module("rankmux._framing")
    except ImportError:
        if mode == "1":
            raise
        return None


_EXTENSION = _extension()
TWIN = "pure" if _EXTENSION is None else "extension"
"""`"extension"` or `"pure"`."""
PURE: dict[str, object] = {}
"""The pure definitions by their names, as far as their modules are imported: tests compare them with the extension."""


def twin(definition: T) -> T:
    """The compiled object with the name of `definition` where the extension runs, else `definition` itself.

    A definition that other pure code calls is private: the compiled object has its name without the underscore.
    """
    name: str = definition.__name__.removeprefix("_")  # type: ignore[attr-defined]
    PURE[name] = definition
    return definition if _EXTENSION is None else getattr(_EXTENSION, name)
