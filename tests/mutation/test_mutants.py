"""The mistakes of mutants.txt fit the source: one that does not would never be tried."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import rankmux

from .mutants import Mutant, read_mutants


@pytest.mark.parametrize("mutant", read_mutants(), ids=lambda mutant: mutant.name)
def test_it_fits_the_source(mutant: Mutant, tmp_path: Path) -> None:
    source = Path(rankmux.__file__).parent / mutant.file
    (tmp_path / mutant.file).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, tmp_path / mutant.file)
    mutant.apply(tmp_path)
    assert (tmp_path / mutant.file).read_text() != source.read_text()
