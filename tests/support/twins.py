"""Both twins of the hot loops, each as one namespace of all their definitions."""

from __future__ import annotations

import importlib
from types import ModuleType

from rankmux import _twin

__all__ = ["MODULES", "PURE", "TWINS"]

MODULES = (
    "core.wire.cutting",
    "core.room.batch",
    "core.room.ledger",
    "core.room.dispatch",
    "server.kernel.receive",
    "server.kernel.fanout",
)
"""Where the pure definitions stand."""

for _module in MODULES:
    importlib.import_module(f"rankmux.{_module}")


def _named(name: str, definitions: dict[str, object]) -> ModuleType:
    namespace = ModuleType(name)
    namespace.__dict__.update(definitions)
    return namespace


def _extension() -> list[ModuleType]:
    if _twin.TWIN == "pure":
        return []
    compiled = importlib.import_module("rankmux._framing")
    return [_named("extension", {name: getattr(compiled, name) for name in _twin.PURE})]


PURE = _named("pure", dict(_twin.PURE))
TWINS = [PURE, *_extension()]
"""The pure one, and the compiled one where it was built and may be used."""
