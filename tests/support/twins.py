"""Both twins of the hot loops, each as one module, as `rankmux.framing` would offer it."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

__all__ = ["PARTS", "PURE", "TWINS"]

PARTS = ("_framing", "_ledger", "_dispatch", "_flush")


def _gathered(name: str, suffix: str) -> ModuleType:
    twin = ModuleType(name)
    for part in PARTS:
        module = importlib.import_module(f"rankmux.{part}{suffix}")
        twin.__dict__.update({public: getattr(module, public) for public in module.__all__})
    return twin


def _twins() -> list[ModuleType]:
    mode = os.environ.get("RANKMUX_EXTENSION", "auto")
    if mode == "0":
        return [PURE]
    try:
        return [PURE, _gathered("extension", "")]
    except ImportError:
        if mode == "1":
            raise
        return [PURE]


PURE = _gathered("pure", "_py")
TWINS = _twins()
"""The pure one, and the compiled one where it was built and may be used."""
