"""The back-off: its bounds, and when it gives up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.codes import ErrorCode
from rankmux.core.client.backoff import Backoff
from rankmux.errors import ArgumentError, AuthError, ConnectionLost, ProtocolViolation, ServerError

LOST = ConnectionLost("gone")


def test_the_bound_doubles_up_to_five_seconds():
    backoff = Backoff(lambda low, high: high - low)
    assert [backoff.delay_s(LOST) for _ in range(8)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5])
    backoff.reset()
    assert backoff.delay_s(LOST) == pytest.approx(0.1)


@given(
    st.lists(st.sampled_from([LOST, ServerError(ErrorCode.FULL, ""), ServerError(ErrorCode.SHUTDOWN, "")]))
)
def test_the_jitter_is_full(errors):
    backoff = Backoff()
    for error in errors:
        assert 0 <= backoff.delay_s(error) <= 5


def test_a_wrong_token_twice_in_a_row():
    backoff = Backoff()
    auth = AuthError(ErrorCode.AUTH, "no")
    backoff.delay_s(auth)
    backoff.delay_s(ServerError(ErrorCode.FULL, ""))
    with pytest.raises(AuthError):
        backoff.delay_s(auth)
    backoff = Backoff()
    for _ in range(5):
        backoff.delay_s(auth)
        backoff.reset()


@pytest.mark.parametrize(
    "error",
    [
        ServerError(ErrorCode.KICKED, ""),
        ServerError(ErrorCode.PROTOCOL, ""),
        ServerError(ErrorCode.UNSUPPORTED, ""),
        ServerError(ErrorCode.TOO_BIG, ""),
        ProtocolViolation(ErrorCode.PROTOCOL, ""),
        ArgumentError("token", 1, "text"),
    ],
)
def test_errors_that_are_not_retried(error):
    with pytest.raises(type(error)):
        Backoff().delay_s(error)


@pytest.mark.parametrize("code", [ErrorCode.FULL, ErrorCode.SHUTDOWN, ErrorCode.SLOW, ErrorCode.TIMEOUT, 99])
def test_errors_that_are_retried(code):
    backoff = Backoff()
    for _ in range(20):
        assert backoff.delay_s(ServerError(code, "")) >= 0
