"""The mistakes of mutants.txt fit the source: one that does not is tried nowhere. (tests/mutants.py tries them.)"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import rankmux

from .mutants import Mutant, read_mutants


@pytest.mark.parametrize("mutant", read_mutants(), ids=lambda mutant: mutant.name)
def test_it_fits_the_source(mutant: Mutant, tmp_path: Path) -> None:
    source = Path(rankmux.__file__).parent / mutant.file
    shutil.copy(source, tmp_path)
    mutant.apply(tmp_path)
    assert (tmp_path / mutant.file).read_text() != source.read_text()
