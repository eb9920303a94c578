"""Fixtures for the tests of the pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.script import Stage, staged


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Stage]:
    """A server with 8 seats, and its clients."""
    with staged(tmp_path) as stage:
        yield stage
