"""The back-off of a client that reconnects: the delay before the next attempt, and the errors that end the attempts.

Full jitter: each delay is drawn evenly between 0 and a bound that doubles from 0.1 s to 5 s, so that clients that lost
their server together do not come back together. It knows no socket and does not wait.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ...errors import AuthError, ConnectionLost, ProtocolViolation, RankmuxError, ServerError
from ..wire.codes import ErrorCode

__all__ = ["Backoff", "concerns_one_server"]

_FIRST_BOUND_S = 0.1
_LAST_BOUND_S = 5.0
_AUTH_MAX = 2  # one failure may be a token in the middle of its rotation; two are a wrong token
_PERMANENT = frozenset(
    (
        ErrorCode.PROTOCOL,
        ErrorCode.TOO_BIG,
        ErrorCode.UNSUPPORTED,
        ErrorCode.KICKED,
        ErrorCode.TAKEN_OVER,  # two programs that take a seat from each other would never stop
    )
)


def concerns_one_server(error: RankmuxError) -> bool:
    """Whether another server of the same room may take this client at once, after `error` from the first."""
    if isinstance(error, ServerError):
        return error.code in (ErrorCode.SHUTDOWN, ErrorCode.RESOURCE)
    return isinstance(error, ConnectionLost | ProtocolViolation)  # or it is a server of something else


class Backoff:
    """The delays of one client. `draw(a, b)` gives an evenly distributed number between a and b."""

    def __init__(self, draw: Callable[[float, float], float] = random.uniform) -> None:
        self._draw = draw
        self._bound_s = _FIRST_BOUND_S
        self._auth_failures = 0

    def reset(self) -> None:
        """An attempt succeeded: the next delay is the shortest again."""
        self._bound_s = _FIRST_BOUND_S
        self._auth_failures = 0

    def delay_s(self, error: RankmuxError | None) -> float:
        """The seconds to wait after `error`; raises `error` when another attempt is pointless.

        Pointless: after a wrong token twice in a row, after a kick by the operator, after a takeover of the seat, and
        after any error that would repeat itself. A full server, a lost connection or a server that shuts down: try
        again.
        """
        if isinstance(error, AuthError):
            self._auth_failures += 1
            if self._auth_failures >= _AUTH_MAX:
                raise error
        elif isinstance(error, ServerError):
            if error.code in _PERMANENT:
                raise error
        elif error is not None and not isinstance(error, ConnectionLost):
            raise error
        delay = self._draw(0.0, self._bound_s)
        self._bound_s = min(self._bound_s * 2, _LAST_BOUND_S)
        return delay
