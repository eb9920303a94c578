"""What a client tells of its seat: the part that is the same whether it blocks or not.

It reads a session and keeps nothing. Nothing here knows a socket, a thread or the clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..core.client.session import ClientSession

__all__ = ["Membership"]


class Membership(ABC):
    """A member's view of itself, as of what was read last."""

    name: str
    _kind: str

    @property
    @abstractmethod
    def _session(self) -> ClientSession | None:
        """The session of the connection there is; None while not connected."""

    @property
    @abstractmethod
    def address(self) -> str:
        """The server's: `HOST:PORT`, or the path of its socket."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether `close` has been called."""

    def __repr__(self) -> str:
        state = "not connected" if self.rank is None else f"rank {self.rank} of {self.members}"
        return f"<{self._kind} {self.name!r} at {self.address}: {state}>"

    @property
    def rank(self) -> int | None:
        """The place in the line, 0 the highest, as of what was read last; None while not connected."""
        session = self._session
        return None if session is None else session.rank

    @property
    def ticket(self) -> int | None:
        """What tells this member from all others for good (section 1); None while not connected."""
        session = self._session
        return None if session is None else session.ticket

    @property
    def members(self) -> int | None:
        """How many members there are, as the server told last: at joining, with promotions, and with `who`."""
        session = self._session
        return None if session is None else session.members

    @property
    def capacity(self) -> int | None:
        """How many seats the server has."""
        session = self._session
        return None if session is None else session.capacity

    @property
    def max_payload(self) -> int | None:
        """The largest payload in bytes that may be sent."""
        session = self._session
        return None if session is None else session.max_payload
