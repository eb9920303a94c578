"""The reasons for closing connections: each has its cause and its code, and is counted once."""

from __future__ import annotations

import pytest

from rankmux.codes import Cause, ErrorCode
from rankmux.server.connections.closes import Close, CloseReason, Closes

LEFT = {CloseReason.LEFT, CloseReason.END_OF_STREAM}
KEEPING = {"END_OF_STREAM", "CUT", "RESET", "SILENT", "TLS"}
LOST = {CloseReason.CUT, CloseReason.RESET, CloseReason.SILENT}


@pytest.mark.parametrize("reason", CloseReason, ids=lambda reason: reason.name)
def test_the_cause_sent_to_juniors(reason):
    assert reason.cause == (Cause.LEFT if reason in LEFT else Cause.LOST if reason in LOST else Cause.EVICTED)


@pytest.mark.parametrize("reason", CloseReason, ids=lambda reason: reason.name)
def test_ends_that_a_kept_seat_outlives(reason):
    """No LEAVE, and no ERROR."""
    assert reason.keeps == (reason.name in KEEPING)
    assert not (reason.keeps and reason.code)


@pytest.mark.parametrize("reason", CloseReason, ids=lambda reason: reason.name)
def test_the_error_that_is_sent(reason):
    """A peer that left, or whose connection is lost, receives no ERROR."""
    silent = LEFT | LOST | {CloseReason.__members__.get("TLS")}
    assert (reason.code is None) == (reason in silent)
    if reason in (CloseReason.HANDSHAKE_TIMEOUT, CloseReason.FRAME_TIMEOUT):
        assert reason.code is ErrorCode.TIMEOUT
    elif reason.code is not None:
        assert reason.code.name == reason.name


@pytest.mark.parametrize("code", ErrorCode, ids=lambda code: code.name)
def test_every_breach_has_a_reason(code):
    if code is ErrorCode.TIMEOUT:
        assert {r for r in CloseReason if r.code is code} == {
            CloseReason.HANDSHAKE_TIMEOUT,
            CloseReason.FRAME_TIMEOUT,
        }
    else:
        assert CloseReason.of(code).code is code


def test_names_for_logs_and_metrics():
    for reason in CloseReason:
        assert reason.value == reason.value.lower()
        assert reason.value.replace("_", "").isalpha()


def test_each_close_is_counted_once_and_the_last_are_kept():
    closes = Closes()
    for i in range(1500):
        reason = CloseReason.RESET if i % 3 else CloseReason.LEFT
        closes.add(Close(float(i), reason, "", "", "", i))
    assert closes.counts == {CloseReason.RESET: 1000, CloseReason.LEFT: 500}
    assert [close.ticket for close in closes.last] == list(range(500, 1500))
