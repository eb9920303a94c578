"""The limits that both clients keep."""

from __future__ import annotations

__all__ = ["GOODBYE_S", "LULL_FROM_BYTES", "LULL_MAX_BYTES", "LULL_S", "SLEEP_MAX_S", "UNSENT_MAX_BYTES"]

GOODBYE_S = 1.0
"""The time `close` waits for the server's end: as long as the server sends what it owes after LEAVE (section 3.4)."""

UNSENT_MAX_BYTES = 256 * 1024
"""The output above which a sender waits until the server has read."""

SLEEP_MAX_S = 3600.0
"""The longest sleep at a time: a caller may wait for longer than a selector takes, even for ever."""

LULL_S = 0.005
"""The time between two reads while many results of one command are owed and nothing else is waited for.

A PING is answered that much later, and a promotion noticed. The last result is not: it ends the lull.
"""

LULL_FROM_BYTES = 256
"""The bytes that are still to come, below which each read is worth a wake-up: ten results."""

LULL_MAX_BYTES = 32 * 1024
"""The bytes that end a lull: half of what is read at once, and less than any window of the kernel's."""
