"""When a client asks a silent server whether it lives, when it takes it for dead, and how it shows its own life.

That is section 3.5 of PROTOCOL, both ways. It counts what was heard and sends PINGs through the session. It knows no
socket; the clock comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ...errors import StateError
from .session import ClientSession, State

__all__ = ["Liveness"]

_SILENT_PINGS_MAX = 2  # as the server does it (section 3.5)
_PATIENCE_MIN_S = 1.0  # a server that wants to be pinged more often than this gets this
_SIGN_MIN_S = 0.05  # and this is how often it hears of us at most while we do not listen


class Liveness:
    """The silence of one server. `clock` gives seconds that never go back."""

    def __init__(self, session: ClientSession, clock: Callable[[], float]) -> None:
        self._session = session
        self._clock = clock
        self._heard_at = clock()
        self._silent_pings = 0

    def heard(self) -> None:
        """Bytes came, or we did not listen."""
        self._heard_at, self._silent_pings = self._clock(), 0

    def patience_s(self, *, listening: bool = True) -> float | None:
        """How long until `judge`, or `show_life` if nobody is `listening`, has something to do; None for ever."""
        if self._session.state is not State.JOINED or not self._session.ping_ms:
            return None
        return max(0.0, self._heard_at + self._interval_s(listening) - self._clock())

    def judge(self) -> None:
        """Send a PING if it is time for one, or end the session if two have brought nothing."""
        patience_s = self.patience_s()
        if patience_s is None or patience_s > 0:
            return
        self._heard_at = self._clock()
        if self._silent_pings >= _SILENT_PINGS_MAX:
            self._session.receive_eof(f"the server was silent for {self._interval_s() * 3:g} s")
            return
        self._silent_pings += 1
        with suppress(StateError):
            self._session.send_ping()

    def show_life(self) -> None:
        """Send a PING if it is time for one, and judge nobody: we do not listen, so the silence is ours.

        Who does not read answers no PING of the server's. One of our own, each `ping_ms`, is the sign of life instead.
        """
        if self.patience_s(listening=False) == 0.0:
            self.heard()
            self._session.try_ping()

    def _interval_s(self, listening: bool = True) -> float:
        return max((self._session.ping_ms or 0) / 1000, _PATIENCE_MIN_S if listening else _SIGN_MIN_S)
