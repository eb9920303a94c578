"""The seats that outlive their connection: secrets, keeps, and who is absent until when (PROTOCOL section 9)."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from .expiry import over_ms
from .ranks import Ranks

__all__ = ["Keep", "KeptSeats"]


@dataclass(slots=True)
class Keep:
    """What holds for one seat.

    `secret`    the SHA-256 of the secret that returns to it
    `keep_ms`   how long it outlives a connection
    `identity`  stands for the names in the certificate that it was taken with; empty without client certificates
    `until_ms`  when it ends, by the clock of the entries; None while it has a connection
    """

    secret: bytes
    keep_ms: int
    identity: str
    until_ms: int | None = None


class KeptSeats:
    """The keeps by ticket. `moments` is a heap of when they end: empty, no seat is without a connection."""

    __slots__ = ("_away", "_by_secret", "_keeps", "_ranks", "moments")

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._keeps: dict[int, Keep] = {}
        self._by_secret: dict[bytes, int] = {}
        self.moments: list[tuple[int, int]] = []  # (until_ms, ticket), a heap; some are over
        self._away: array[int] | None = None

    def __contains__(self, ticket: int) -> bool:
        return ticket in self._keeps

    def __getitem__(self, ticket: int) -> Keep:
        return self._keeps[ticket]

    def get(self, ticket: int) -> Keep | None:
        """The keep of that seat, if it has one."""
        return self._keeps.get(ticket)

    def ticket_of(self, secret: bytes) -> int:
        """The seat that `secret` returns to; 0 if there is none."""
        return self._by_secret.get(secret, 0) if secret else 0

    def is_absent(self, ticket: int) -> bool:
        """Whether that seat has no connection."""
        keep = self._keeps.get(ticket)
        return keep is not None and keep.until_ms is not None

    @property
    def absent(self) -> int:
        """How many seats have no connection."""
        return len(self.away())

    def away(self) -> array[int]:
        """The ranks of the absent, rising. Not to be changed."""
        if self._away is None:
            absent = sorted(ticket for ticket, keep in self._keeps.items() if keep.until_ms is not None)
            self._away = array("I", [self._ranks.rank_of(ticket) for ticket in absent])
        return self._away

    def moved(self) -> None:
        """Members have moved up."""
        self._away = None

    def add(self, ticket: int, keep: Keep) -> None:
        """The seat `ticket` is kept from now on."""
        self._keeps[ticket] = keep
        self._by_secret[keep.secret] = ticket
        if keep.until_ms is not None:
            heappush(self.moments, (keep.until_ms, ticket))
            self._away = None

    def lose(self, ticket: int, clock_ms: int) -> None:
        """The seat `ticket` has no connection any more."""
        keep = self._keeps[ticket]
        keep.until_ms = over_ms(clock_ms, keep.keep_ms)
        heappush(self.moments, (keep.until_ms, ticket))
        self._away = None
        if len(self.moments) > 2 * len(self._keeps) + 64:  # most of them are of members that have returned
            self.moments = [moment for moment in self.moments if self._is_current(*moment)]
            heapify(self.moments)

    def find(self, ticket: int, keep_ms: int) -> None:
        """The seat `ticket` has a connection again, which asks for `keep_ms`."""
        keep = self._keeps[ticket]
        keep.keep_ms, keep.until_ms = keep_ms, None
        self._away = None

    def move(self, ticket: int, following: int) -> None:
        """The member with `ticket` goes on as `following`."""
        keep = self._keeps.pop(ticket, None)
        if keep is not None:
            self.add(following, keep)

    def drop(self, ticket: int) -> None:
        """The seat `ticket` has ended."""
        keep = self._keeps.pop(ticket, None)
        if keep is not None:
            self._by_secret.pop(keep.secret, None)
            self._away = None

    def next_ms(self) -> int | None:
        """When the next keep runs out."""
        while self.moments and not self._is_current(*self.moments[0]):
            heappop(self.moments)
        return self.moments[0][0] if self.moments else None

    def pop_over(self, clock_ms: int, returning: set[int]) -> int:
        """Take out the seat whose keep was over first, at `clock_ms` or before; 0 if there is none.

        Not those that are `returning` in this turn: their keep begins anew.
        """
        while (until_ms := self.next_ms()) is not None and until_ms <= clock_ms:
            ticket = heappop(self.moments)[1]
            if ticket not in returning:
                return ticket
        return 0

    def wake(self, clock_ms: int) -> None:
        """All seats are absent, and their keeps begin at `clock_ms`."""
        for keep in self._keeps.values():
            keep.until_ms = over_ms(clock_ms, keep.keep_ms)
        self.moments = [(keep.until_ms or 0, ticket) for ticket, keep in self._keeps.items()]
        heapify(self.moments)
        self._away = None

    def _is_current(self, until_ms: int, ticket: int) -> bool:
        keep = self._keeps.get(ticket)
        return keep is not None and keep.until_ms == until_ms
