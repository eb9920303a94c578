"""Fixtures: `rig(seats, *flags)` starts a server that is looked after at the end; certificates; what it stands on."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator

import pytest

from .certificates import Certificates
from .rig import Ground, Rig

Rigging = Callable[..., Rig]

FULL = bool(os.environ.get("RANKMUX_FAULTS_FULL"))
ALL = [Ground(*pair) for pair in itertools.product(("plain", "tls", "mtls"), ("epoll", "poll", "select"))]
FEW = [Ground("plain", "epoll"), Ground("tls", "poll"), Ground("mtls", "select")]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def ground() -> Ground:
    """Plain TCP and epoll; a test on all grounds is parametrized with `everywhere`."""
    return Ground()


everywhere = pytest.mark.parametrize("ground", ALL if FULL else FEW, ids=str)


@pytest.fixture
def rig(ground: Ground, certificates: Certificates) -> Iterator[Rigging]:
    """Starts servers; each is verified (U1 to U6) and ended in order after the test."""
    rigs: list[Rig] = []

    def start(seats: int = 10, *flags: str, **options: object) -> Rig:
        options.setdefault("ground", ground)
        rigs.append(Rig(seats, *flags, certificates=certificates, **options))  # type: ignore[arg-type]
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


@pytest.fixture
def strace() -> str:
    """Where strace is; the test is skipped where it is not."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is missing")
    return found
