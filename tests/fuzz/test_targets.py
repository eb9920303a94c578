"""The targets in short, without atheris: each seed, mangled seeds, any bytes; `python -m tests.fuzz` goes on."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.core import greeting
from rankmux.core.client import decoder
from rankmux.core.client.seat import ClientSeat
from rankmux.core.room import batch

from .__main__ import mangled
from .seeds import SEEDS
from .targets import TARGETS

each = pytest.mark.parametrize("name", TARGETS)


@each
def test_seeds(name):
    for data in SEEDS[name]:
        TARGETS[name](data)


@each
def test_mangled_seeds(name):
    for data in mangled(random.Random(7), SEEDS[name], 1000):
        TARGETS[name](data)


@each
@given(data=st.binary(max_size=200))
def test_any_bytes(name, data):
    TARGETS[name](data)


@each
def test_a_target_would_notice(name, monkeypatch):
    """The seeds alone detect a mistake in the fuzzed code."""

    def mistake(*_: object) -> None:
        raise ZeroDivisionError

    if name == "client":
        monkeypatch.setattr(ClientSeat, "advance", mistake)
    else:
        for module in (decoder, batch, greeting):  # where the pure twin and the greeting judge a length
            monkeypatch.setattr(module, "bad_length", mistake)
    with pytest.raises(ZeroDivisionError):
        test_seeds(name)
