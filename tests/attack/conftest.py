"""Fixtures: the rig of tests/faults on each twin in turn; a server under attack has a core to itself where possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ..faults.certificates import Certificates
from ..faults.conftest import TWINS, certificates
from ..faults.rig import Ground, Rig
from .innocent import favoured

__all__ = ["certificates"]

Rigging = Callable[..., Rig]


def twins(test: Callable[..., None]) -> Callable[..., None]:
    """Run the test on both twins."""
    names = ["extension" if twin else "pure" for twin in TWINS]
    return pytest.mark.parametrize("extension", TWINS, ids=names)(test)


@pytest.fixture
def rig(certificates: Certificates) -> Iterator[Rigging]:
    """Starts servers: `rig(seats, *flags, extension=..., transport=...)`. Each is stopped and its log checked."""
    rigs: list[Rig] = []

    def start(seats: int, *flags: str, extension: bool, transport: str = "plain") -> Rig:
        ground = Ground(transport, "epoll", extension)
        rigs.append(Rig(seats, *flags, ground=ground, certificates=certificates, preexec=favoured))
        return rigs[-1]

    yield start
    failures: list[BaseException] = []
    for each in rigs:
        try:
            each.finish()
        except (AssertionError, OSError) as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
