"""The leak check with 60,000 connections. (`python -m tests.faults.leaks`: the long form.)"""

from __future__ import annotations

import pytest

from . import leaks
from .certificates import Certificates
from .conftest import FULL
from .witness import figure

TRANSPORTS = ("plain", "tls", "mtls") if FULL else ("plain",)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # 60,000 TLS handshakes take long
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_closed_connections_leave_nothing_behind(transport: str, certificates: Certificates) -> None:
    """Connections end in every way: no descriptor leaks, and no memory, not even an object for each 1,000 of them."""
    figures = leaks.check(60_000, seed=4, transport=transport, certificates=certificates, warm_up=10_000)
    assert figures.went.keys() >= leaks.WAYS.keys()
    assert figures.went["finds no seat"] > 100
    assert figures.done > 500
    assert figures.closes.keys() >= {
        *("left", "end_of_stream", "cut_inside_frame", "reset", "full", "auth", "protocol"),
    }
    assert sum(figures.closes.values()) >= figures.connections
    figure("leaks", f"{figures.connections} came and went ({transport})", str(figures).partition("\n")[0])


def test_the_slope_is_that_of_the_line() -> None:
    assert leaks.slope([(0, 5), (10, 25), (20, 45)]) == 2.0
    assert leaks.slope([(0, 7), (10, 7), (20, 7)]) == 0.0
    assert leaks.slope([(0, 0), (1, 4), (2, 2)]) == 1.0


def test_the_rise_is_that_of_the_floor() -> None:
    line = [(x, 5 + 2 * x) for x in range(0, 90, 10)]
    assert leaks.rise(line) == 2.0
    assert leaks.rise([(x, y + 9 * (x % 20)) for x, y in line]) > 1.0  # larger at times
    assert leaks.rise([(0, 7), (10, 9), (20, 12), (30, 7), (40, 8), (50, 7)]) == 0.0
    assert leaks.rise([(x, 7 if x < 40 else 50) for x in range(0, 90, 10)]) == 0.0  # once for all
