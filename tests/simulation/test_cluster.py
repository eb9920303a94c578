"""Several servers of one room in the simulated world: one order, one rank 0, and nothing lost or done twice."""

from __future__ import annotations

import pytest

from .batch import check_fixed, check_fresh

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a minute on two idle cores


def test_fixed_seeds():
    check_fixed(300, "2,3,5", 10)


def test_fresh_seeds():
    check_fresh(100, "2,3,5", 10)
