"""Polling, the way to wait for a condition that another thread or process makes true without any notification."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 30.0


def until(
    condition: Callable[[], object],
    seconds: float = PATIENCE_S,
    complaint: Callable[[], str] | str = "it did not come to that",
) -> float:
    """Wait until `condition` holds, `seconds` at most; returns the seconds elapsed."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, complaint if isinstance(complaint, str) else complaint()
        time.sleep(0.005)
    return time.monotonic() - began
