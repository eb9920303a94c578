"""Tracking of one reader of the log: which entries it got, which it missed, whether it is still served.

Knows no NATS but the form of its numbers: each message has the sequence number of its entry, which rises by one in a
log that is whole, and one that counts what this consumer was sent, which rises by one if nothing was lost on the way.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["Arrival", "Silence", "Tracker", "numbers_of"]


class Arrival(Enum):
    """What to make of a message."""

    NEXT = 0
    OLD = 1
    LOST = 2  # something on the way to us: the consumer is made anew
    HOLE = 3  # the log has no entry where it should


class Tracker:
    """`next` is the entry that comes next."""

    def __init__(self, following: int) -> None:
        self.next = following
        self._sent = 0

    def arrived(self, seq: int, sent: int) -> Arrival:
        """The entry `seq` is here, the message number `sent` of this consumer."""
        if sent != self._sent + 1:
            return Arrival.LOST
        self._sent = sent
        if seq < self.next:
            return Arrival.OLD
        if seq > self.next:
            return Arrival.HOLE
        self.next += 1
        return Arrival.NEXT

    def is_behind(self, sent: int) -> bool:
        """Whether a heartbeat that says `sent` speaks of messages that should be here and are not."""
        return sent > self._sent


class Silence:
    """Judges how long nothing was heard, by a clock that is looked at every `tick_s`.

    A look that comes late (the process was stopped, the machine is busy) judges nothing: what was sent meanwhile may
    lie there unread.
    """

    def __init__(self, limit_s: float, tick_s: float, now: float) -> None:
        self._limit_s = limit_s
        self._late_s = 3 * tick_s
        self._heard = self._looked = now

    def heard(self, now: float) -> None:
        """Something came."""
        self._heard = now

    def look(self, now: float) -> bool:
        """Whether it has been silent for too long."""
        late = now - self._looked > self._late_s
        self._looked = now
        if late:
            self._heard = now
        return now - self._heard > self._limit_s


def numbers_of(reply: str) -> tuple[int, int, int, int] | None:
    """What the reply subject of a message says, None if it is none: the entry's and the consumer's sequence numbers,
    when the entry was stored, in ns, and how many entries were behind it.
    """
    tokens = reply.split(".")
    if len(tokens) < 9 or tokens[:2] != ["$JS", "ACK"]:
        return None
    at = 5 if len(tokens) == 9 else 7  # later versions have the domain and the account before the stream
    return int(tokens[at]), int(tokens[at + 1]), int(tokens[at + 2]), int(tokens[at + 3])
