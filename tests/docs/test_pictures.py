"""The drawings that are made from the code are up to date."""

from __future__ import annotations

import importlib.util

import pytest

from .pages import ROOT


def drawings() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("design", ROOT / "docs" / "img" / "design.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: draw() for name, draw in module.DRAWINGS.items()}


@pytest.mark.parametrize("name", ["design-states.svg", "design-turn.svg"])
def test_it_is_drawn_from_the_code(name: str) -> None:
    assert (ROOT / "docs" / "img" / name).read_text() == drawings()[name], "python docs/img/design.py"
