"""Fixtures: `rig(seats, *flags)`, which starts a server and checks it at the end; certificates; grounds."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from typing import TypeVar
from zlib import crc32

import pytest

from ..protocol.process import end_all
from .certificates import Certificates
from .rig import EXTENSION, Ground, Rig

Rigging = Callable[..., Rig]
Test = TypeVar("Test", bound=Callable[..., None])

FULL = bool(os.environ.get("RANKMUX_FAULTS_FULL"))
TRANSPORTS = ("plain", "tls", "mtls")
SELECTORS = ("epoll", "poll", "select")
TWINS = (True, False) if EXTENSION else (False,)
ALL = [Ground(*each) for each in itertools.product(TRANSPORTS, SELECTORS, TWINS)]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def trio(number: int) -> list[Ground]:
    """Three grounds, which together have all transports and selectors; sets 0 to 5 cover all eighteen once."""
    return [
        Ground(TRANSPORTS[i], SELECTORS[(i + number) % 3], TWINS[(i + number // 3) % len(TWINS)])
        for i in range(3)
    ]


def everywhere(test: Test) -> Test:
    """Run the test on each ground in the full run, else on three, which differ between tests."""
    grounds = ALL if FULL else trio(crc32(test.__name__.encode()) % 6)
    return pytest.mark.parametrize("ground", grounds, ids=str)(test)


def anywhere(test: Test) -> Test:
    """Run the test on one ground, or on each in the full run."""
    grounds = ALL if FULL else [ALL[crc32(test.__name__.encode()) % len(ALL)]]
    return pytest.mark.parametrize("ground", grounds, ids=str)(test)


@pytest.fixture
def ground() -> Ground:
    """For tests of a single ground: plain TCP, epoll, the twin of this run."""
    return Ground()


@pytest.fixture
def rig(ground: Ground, certificates: Certificates) -> Iterator[Rigging]:
    """Starts servers; each is verified (U1 to U6) and stopped cleanly after the test."""
    rigs: list[Rig] = []

    def start(seats: int = 10, *flags: str, **options: object) -> Rig:
        options.setdefault("ground", ground)
        rigs.append(Rig(seats, *flags, certificates=certificates, **options))  # type: ignore[arg-type]
        return rigs[-1]

    yield start
    end_all(rigs, Rig.finish)


@pytest.fixture
def strace() -> str:
    """The path of strace; without it, the test is skipped."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is missing")
    return found
