"""When to try again, and when to stop: the back-off of a client that reconnects.

Full jitter: each delay is drawn evenly between 0 and a bound that doubles from 0.1 s to 5 s, so that a crowd that
lost its server together does not come back together. It knows no socket; whoever uses it does the waiting.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ...errors import AuthError, ConnectionLost, RankmuxError, ServerError
from ..wire.codes import ErrorCode

__all__ = ["Backoff"]

_FIRST_BOUND_S = 0.1
_LAST_BOUND_S = 5.0
_AUTH_MAX = 2  # once may be a token that was being rotated; twice is a wrong one
_HOPELESS = frozenset((ErrorCode.PROTOCOL, ErrorCode.TOO_BIG, ErrorCode.UNSUPPORTED, ErrorCode.KICKED))


class Backoff:
    """The delays of one client. `draw(a, b)` gives an even number between a and b."""

    def __init__(self, draw: Callable[[float, float], float] = random.uniform) -> None:
        self._draw = draw
        self._bound_s = _FIRST_BOUND_S
        self._auth_failures = 0

    def welcomed(self) -> None:
        """It worked: begin again from the shortest delay."""
        self._bound_s = _FIRST_BOUND_S
        self._auth_failures = 0

    def delay_s(self, error: RankmuxError | None) -> float:
        """How many seconds to wait after `error`; raises `error` when trying again is of no use.

        Of no use: a wrong token for the second time in a row, having been thrown out by the operator, and everything
        that would go the same way again. A full server, a lost connection, a server that is going away: go on.
        """
        if isinstance(error, AuthError):
            self._auth_failures += 1
            if self._auth_failures >= _AUTH_MAX:
                raise error
        elif isinstance(error, ServerError):
            if error.code in _HOPELESS:
                raise error
        elif error is not None and not isinstance(error, ConnectionLost):
            raise error
        delay = self._draw(0.0, self._bound_s)
        self._bound_s = min(self._bound_s * 2, _LAST_BOUND_S)
        return delay
