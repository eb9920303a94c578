"""The limits that both clients keep."""

from __future__ import annotations

__all__ = ["GOODBYE_S", "SLEEP_MAX_S", "UNSENT_MAX_BYTES"]

GOODBYE_S = 1.0
"""The time `close` waits for the server's end: as long as the server sends what it owes after LEAVE (section 3.4)."""

UNSENT_MAX_BYTES = 256 * 1024
"""The output above which a sender waits until the server has read."""

SLEEP_MAX_S = 3600.0
"""The longest sleep at a time: a caller may wait for longer than a selector takes, even for ever."""
