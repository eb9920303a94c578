"""Fixtures: the rig of tests/faults on each twin in turn; a server under attack has a core to itself where possible."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ..faults.certificates import Certificates
from ..faults.conftest import TWINS, certificates
from ..faults.rig import Ground, Rig
from ..protocol.process import end_all
from .innocent import favoured
from .scene import FULL

__all__ = ["certificates"]

Rigging = Callable[..., Rig]


def chosen(short: str) -> list[bool]:
    """The twins to try: all of them in the long form, those named in the short one; with no extension, the pure one."""
    names = {True: "extension", False: "pure"}
    return [twin for twin in TWINS if FULL or names[twin] in short or (short and len(TWINS) == 1)]


def twins(short: str = "extension pure") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run the test on these twins."""
    wanted = chosen(short)
    return pytest.mark.parametrize(
        "extension", wanted, ids=["extension" if twin else "pure" for twin in wanted]
    )


def trials(name: str, short: Mapping[Any, str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run the test with each value of `name`, which `short` maps to the twins that the short form tries it on."""
    params = [
        pytest.param(value, extension, id=f"{value}-{'extension' if extension else 'pure'}")
        for value, twins in short.items()
        for extension in chosen(twins)
    ]
    return pytest.mark.parametrize((name, "extension"), params)


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """One attack at a time, over all processes of pytest: two would distort each other's figures."""
    with (Path(tempfile.gettempdir()) / f"rankmux-attack-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def rig(alone: None, certificates: Certificates) -> Iterator[Rigging]:
    """Starts servers: `rig(seats, *flags, extension=..., transport=...)`. Each is stopped and its log checked."""
    rigs: list[Rig] = []

    def start(seats: int, *flags: str, extension: bool, transport: str = "plain") -> Rig:
        ground = Ground(transport, "epoll", extension)
        rigs.append(Rig(seats, *flags, ground=ground, certificates=certificates, preexec=favoured))
        return rigs[-1]

    yield start
    end_all(rigs, Rig.finish)
