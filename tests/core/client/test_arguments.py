"""The arguments of a client's calls: their values on the wire, and the wrong ones."""

from __future__ import annotations

import pytest

from rankmux.codes import Target
from rankmux.core.client.arguments import command_arguments, payload_of, target_of, token_of, ttl_ms_of
from rankmux.errors import ArgumentError


def test_arguments():
    assert target_of("next") == (Target.NEXT, 0)
    assert target_of(5) == (Target.ONE, 5)
    assert payload_of("é") == payload_of("é".encode()) == payload_of(memoryview("é".encode()))
    with pytest.raises(ArgumentError):
        payload_of(5)
    assert (ttl_ms_of(None), ttl_ms_of(0.0001), ttl_ms_of(1.5)) == (0, 1, 1500)
    assert (token_of(None), token_of("é"), token_of(lambda: b"x")) == (b"", "é".encode(), b"x")
    with pytest.raises(ArgumentError):
        token_of(lambda: 5)


def test_the_arguments_of_a_command():
    arguments = command_arguments("é", 3, True, 1.5, False)
    assert arguments == ("é".encode(), Target.ONE, 3, True, False, 1500)
    for wrong in (
        lambda: command_arguments(5, "all", False, None, False),
        lambda: command_arguments("x", "everyone", False, None, False),
        lambda: command_arguments("x", True, False, None, False),
        lambda: command_arguments("x", "all", False, 0, False),
    ):
        with pytest.raises(ArgumentError):
            wrong()
