"""A received command alone: the results that it sends, and the cases where it refuses to."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from rankmux.client.receipt import ReceivedCommand
from rankmux.codes import Status
from rankmux.core.client.events import ExecuteReceived
from rankmux.errors import ArgumentError, StateError


def command(
    wants_result: bool = True, ttl_ms: int = 0, age_s: float = 0.0
) -> tuple[ReceivedCommand, list[tuple[int, Status, bytes]]]:
    sent: list[tuple[int, Status, bytes]] = []
    event = ExecuteReceived(7, 0, 2, wants_result, ttl_ms, b"caf\xc3\xa9 \xff")
    received_s = time.monotonic() - age_s
    driver = SimpleNamespace(
        answer=lambda *result: sent.append(result), look=lambda: None, wait=lambda *_: False
    )
    return ReceivedCommand(event, received_s, 4, driver), sent


def test_attributes():
    one, _ = command()
    assert (one.seq, one.sender_rank, one.rank, one.wants_result) == (7, 0, 2, True)
    assert (one.payload, one.text) == (b"caf\xc3\xa9 \xff", "café \ufffd")
    assert repr(one).startswith("<ReceivedCommand 7 of rank 0: b'caf")


def test_output_is_cut_into_frames_of_the_largest_size():
    one, sent = command()
    one.emit("12345678")
    one.emit("")
    one.emit(b"9")
    one.finish(Status.FAILED, "abcde")
    assert sent == [
        (7, Status.PART, b"1234"),
        (7, Status.PART, b"5678"),
        (7, Status.PART, b"9"),
        (7, Status.PART, b"abcd"),
        (7, Status.FAILED, b"e"),
    ]
    assert one.finished


def test_there_is_one_end():
    one, sent = command()
    one.finish()
    with pytest.raises(StateError):
        one.finish()
    with pytest.raises(StateError):
        one.emit("more")
    assert sent == [(7, Status.OK, b"")]


def test_an_invalid_output_changes_nothing():
    one, sent = command()
    with pytest.raises(ArgumentError):
        one.finish(Status.OK, 5)
    assert not one.finished
    assert sent == []


def test_no_result_is_sent_unless_wanted():
    one, sent = command(wants_result=False)
    one.emit("x")
    one.finish(Status.OK, "y")
    assert one.finished
    assert sent == []


def test_the_time_that_is_left():
    assert command()[0].seconds_left() is None
    left = command(ttl_ms=60_000, age_s=10)[0].seconds_left()
    assert 40 < left <= 50
    assert command(ttl_ms=1000, age_s=10)[0].seconds_left() == 0.0
