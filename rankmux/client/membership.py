"""A member's view of its seat, and the options it joins with: the same for both clients.

It reads a session. Nothing here knows a socket, a thread or the clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ..core.client.arguments import Token, token_of
from ..core.client.seat import ClientSeat
from ..core.client.session import ClientSession
from .address import Address

__all__ = ["JoinOptions", "Membership"]

_NO_SEAT = ClientSeat()


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """The options of each connection a client makes. Raises ArgumentError where the server would not take `name`."""

    address: Address
    name: str
    token: Token
    timeout_s: float

    def __post_init__(self) -> None:
        ClientSession(self.name)

    def session(self) -> ClientSession:
        """A session for a new connection; a callable token is called now, and its errors are raised."""
        return ClientSession(self.name, token_of(self.token))


class Membership(ABC):
    """A member's view of itself, as of the last bytes that were read."""

    _kind: str

    def __init__(self, options: JoinOptions) -> None:
        self.name = options.name
        self._options = options

    @property
    @abstractmethod
    def _session(self) -> ClientSession | None:
        """The session of the current connection; None while not connected."""

    @property
    def _seat(self) -> ClientSeat:
        session = self._session
        return _NO_SEAT if session is None else session.seat

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether `close` has been called."""

    def __repr__(self) -> str:
        state = "not connected" if self.rank is None else f"rank {self.rank} of {self.members}"
        return f"<{self._kind} {self.name!r} at {self.address}: {state}>"

    @property
    def address(self) -> str:
        """The server's address: `HOST:PORT`, or the path of its socket."""
        return str(self._options.address)

    @property
    def rank(self) -> int | None:
        """The place in line (section 1), 0 the highest, as of the last bytes read; None while not connected."""
        return self._seat.rank

    @property
    def ticket(self) -> int | None:
        """The member's identity (section 1), never given to another; None while not connected."""
        return self._seat.ticket

    @property
    def members(self) -> int | None:
        """The number of members, as of the server's last word: at joining, with promotions, and with `who`."""
        return self._seat.members

    @property
    def capacity(self) -> int | None:
        """The number of seats in the room."""
        return self._seat.capacity

    @property
    def max_payload(self) -> int | None:
        """The largest payload that may be sent, in bytes (section 3.2); None while not connected."""
        session = self._session
        return None if session is None else session.max_payload
