"""The arguments of a client's calls: their values on the wire, and the wrong ones."""

from __future__ import annotations

import pytest

from rankmux.codes import Target
from rankmux.core.client.arguments import (
    batches_of,
    check_drain,
    command_arguments,
    payload_of,
    token_of,
    ttl_ms_of,
)
from rankmux.core.client.targets import Destination
from rankmux.errors import ArgumentError


def test_arguments():
    assert payload_of("é") == payload_of("é".encode()) == payload_of(memoryview("é".encode()))
    with pytest.raises(ArgumentError):
        payload_of(5)
    assert (ttl_ms_of(None), ttl_ms_of(0.0001), ttl_ms_of(1.5)) == (0, 1, 1500)
    assert (token_of(None), token_of("é"), token_of(lambda: b"x")) == (b"", "é".encode(), b"x")
    with pytest.raises(ArgumentError):
        token_of(lambda: 5)


@pytest.mark.parametrize("payloads", ["abc", b"abc", bytearray(3), memoryview(b"abc")])
def test_one_payload_where_several_are_expected(payloads):
    """Each of its characters would be a command."""
    with pytest.raises(ArgumentError, match=r"^payloads is .*: expected several; command sends one$"):
        next(batches_of(payloads))


@pytest.mark.parametrize("drain_s", [-1, float("nan"), "5", None])
def test_times_to_drain_that_are_none(drain_s):
    with pytest.raises(ArgumentError, match=r"^drain_s is .*: expected a number of seconds, at least 0$"):
        check_drain(drain_s)
    check_drain(0)


def test_the_arguments_of_a_command():
    arguments = command_arguments("é", 3, True, 1.5, False)
    assert arguments == ("é".encode(), Destination(Target.ONE, 3), True, False, 1500, False, False)
    for wrong in (
        lambda: command_arguments(5, "all", False, None, False),
        lambda: command_arguments("x", "", False, None, False),
        lambda: command_arguments("x", "all", False, None, False, tied=True),
        lambda: command_arguments("x", True, False, None, False),
        lambda: command_arguments("x", "all", False, 0, False),
    ):
        with pytest.raises(ArgumentError):
            wrong()


def test_a_broadcast_may_go_to_nobody():
    def forgiving(to: object = "all", **more: object) -> bool:
        return command_arguments("x", to, False, None, False, **more).forgiving

    assert forgiving("all")
    assert forgiving(names="web-*")
    assert not forgiving(names="web-*", required=True)
    assert not forgiving(names="web")
    assert not any(map(forgiving, ("next", "least", 1, [])))
