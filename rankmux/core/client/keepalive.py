"""A client's keepalive (PROTOCOL section 3.5): PINGs to a silent server, its end after too many, and our sign of life.

It notes when bytes came, and sends PINGs through the session. It knows no socket; the clock comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ...errors import StateError
from .session import ClientSession

__all__ = ["Keepalive"]

_SILENT_PINGS_MAX = 2  # as the server does (section 3.5)
# The intervals that a rankmux server can be set to; another server may announce anything. Within these bounds a client
# follows its server: were it more patient, it would still take itself for a member when the server no longer does.
_INTERVAL_MIN_S = 0.01
_INTERVAL_MAX_S = 3600.0


class Keepalive:
    """The timer of one session. `clock` gives seconds that never go back."""

    def __init__(self, session: ClientSession, clock: Callable[[], float]) -> None:
        self._session = session
        self._clock = clock
        self._heard_at = clock()
        self._silent_pings = 0
        self.gave_up = False  # it has ended the session

    def heard(self) -> None:
        """Bytes came, or this side was not listening."""
        self._heard_at, self._silent_pings = self._clock(), 0

    def patience_s(self) -> float | None:
        """Seconds until `check`, or `show_life` while nobody listens, has something to do; None: for ever."""
        silence_s, kept = self._silence_s(), self._session.kept
        keep_s = None if kept is None or not self._session.state.open else kept.patience_s()
        if silence_s is None or keep_s is None:
            return keep_s if silence_s is None else silence_s
        return min(silence_s, keep_s)

    def _silence_s(self) -> float | None:
        """Seconds until the server has been silent for long."""
        if not self._session.state.open or not self._session.ping_ms:
            return None
        return max(0.0, self._heard_at + self._interval_s() - self._clock())

    def check_keep(self) -> None:
        """Send the PING that a kept seat needs, and notice its deadline. To be called often, bytes or none."""
        kept = self._session.kept
        if kept is None or not self._session.state.open:
            return
        if kept.ping_due():
            with suppress(StateError):
                self._session.send_ping()
        self._session.check_deadline()

    def check(self) -> None:
        """Send a PING if one is due, or end the session if two have brought nothing."""
        self.check_keep()
        if self._silence_s() != 0.0:
            return
        self._heard_at = self._clock()
        if self._silent_pings >= _SILENT_PINGS_MAX:
            self.gave_up = True
            self._session.receive_eof(f"the server was silent for {self._interval_s() * 3:g} s")
            return
        self._silent_pings += 1
        with suppress(StateError):
            self._session.send_ping()

    def show_life(self) -> None:
        """Send a PING if one is due, and never end the session: nobody listens here, so the silence is ours.

        A client that does not read answers no PING of the server's. Its own, each `ping_ms`, is its sign of life.
        """
        kept = self._session.kept
        due = kept is not None and self._session.state.open and kept.ping_due()
        if due or self._silence_s() == 0.0:
            self.heard()
            self._session.try_ping()
        self._session.check_deadline()

    def _interval_s(self) -> float:
        return min(max((self._session.ping_ms or 0) / 1000, _INTERVAL_MIN_S), _INTERVAL_MAX_S)
