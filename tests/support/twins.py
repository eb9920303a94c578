"""Both twins of the hot loops, each as one module with all the definitions that have a twin."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from rankmux import _twin

# Each of these registers its pure definitions.
MODULES = (
    "core.client.runs",
    "core.room.batch",
    "core.room.ledger",
    "core.room.dispatch",
    "core.room.turn",
    "server.connections.connection",
    "server.kernel.accept",
    "server.kernel.receive",
    "server.kernel.fanout",
    "server.kernel.crowd",
)
for _name in MODULES:
    importlib.import_module(f"rankmux.{_name}")

__all__ = ["MODULES", "PURE", "TWINS"]


def _pure() -> ModuleType:
    twin = ModuleType("pure")
    twin.__dict__.update(_twin.PURE)
    return twin


def _compiled() -> ModuleType:
    twin = ModuleType("extension")
    extension = importlib.import_module("rankmux._framing")
    twin.__dict__.update({name: getattr(extension, name) for name in _twin.PURE})
    return twin


def _twins() -> list[ModuleType]:
    mode = os.environ.get("RANKMUX_EXTENSION", "auto")
    if mode == "0":
        return [PURE]
    try:
        return [PURE, _compiled()]
    except ImportError:
        if mode == "1":
            raise
        return [PURE]


PURE = _pure()
TWINS = _twins()
"""The pure twin, and the compiled one if it was built and may be used."""
