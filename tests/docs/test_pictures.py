"""The pictures: those that are made from the code are up to date, and that of the terminals is legible."""

from __future__ import annotations

import importlib.util
import re

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


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
@pytest.mark.parametrize(
    ("name", "attribute", "width", "least"),
    [("terminals.svg", "src", 740, 12), ("terminals-narrow.svg", "srcset", 328, 10)],
)
def test_the_letters_of_the_terminals_are_legible(
    page: str, name: str, attribute: str, width: int, least: int
) -> None:
    """In px, where the picture has the width of the text: on a screen of 1280 px, and on one of 360 px."""
    found = re.search(rf'{attribute}="(\S*\b{name})"', (ROOT / page).read_text())
    assert found
    picture = ((ROOT / page).parent / found[1]).read_text()
    of_picture = re.search(r'viewBox="0 0 ([\d.]+) ', picture)
    size = re.search(r"font-size: (\d+)px", picture)
    assert of_picture
    assert size
    assert float(size[1]) * width / float(of_picture[1]) >= least
