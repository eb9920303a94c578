"""A member's view of its seat, and the options it joins with: the same for both clients.

It reads a session. Nothing here knows a socket or a thread.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike

from ..core.client.arguments import Token, check_keep, token_of
from ..core.client.keep import KeptSeat, SeatState
from ..core.client.seat import ClientSeat
from ..core.client.session import ClientSession, ClientState
from ..core.wire.frames import Baton
from ..errors import StateError
from .address import Address, Addresses
from .keep_file import KeepFile, new_secret

__all__ = ["JoinOptions", "Membership", "join_options"]

_NO_SEAT = ClientSeat()


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """The options of each connection a client makes. Raises ArgumentError where the server would not take `name`."""

    addresses: Addresses
    name: str
    token: Token
    timeout_s: float
    observe: bool = False
    watch: bool = False
    kept: KeptSeat | None = None
    keep_file: KeepFile | None = None

    def __post_init__(self) -> None:
        ClientSession(self.name)

    @property
    def address(self) -> Address:
        """The address that is tried next, or connected to."""
        return self.addresses.current

    def session(self) -> ClientSession:
        """A session for a new connection; a callable token is called now, and its errors are raised."""
        token = token_of(self.token)
        return ClientSession(self.name, token, observe=self.observe, watch=self.watch, kept=self.kept)

    def release(self) -> None:
        """No further connection is made: other programs may use the file of the seat."""
        if self.keep_file is not None:
            self.keep_file.close()


def join_options(
    addresses: Addresses,
    name: str,
    token: Token,
    timeout_s: float,
    observe: bool,
    watch: bool,
    keep_s: float | None,
    keep_file: str | PathLike[str] | None,
) -> JoinOptions:
    """The options, checked; locks the file of the seat. Raises ArgumentError."""
    plain = JoinOptions(addresses, name, token, timeout_s, observe, watch)
    check_keep(keep_s, observe, keep_file)
    if keep_s is None:
        return plain
    file = None if keep_file is None else KeepFile(keep_file)
    secret = new_secret() if file is None else file.secret
    kept = KeptSeat(math.ceil(keep_s * 1000), secret, time.monotonic)
    return JoinOptions(addresses, name, token, timeout_s, observe, watch, kept, file)


class Membership(ABC):
    """A member's view of itself, as of the last bytes that were read."""

    _kind: str

    def __init__(self, options: JoinOptions) -> None:
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
        rank, state = self.rank, "not connected" if self.state == "none" else self.state
        if rank is not None:
            state = f"rank {rank} of {self.member_count}"
        return f"<{self._kind} {self.name!r} at {self.address}: {state}>"

    @property
    def name(self) -> str:
        """The name that others see."""
        return self._options.name

    @property
    def address(self) -> str:
        """The server's address: `HOST:PORT`, or the path of its socket."""
        return str(self._options.address)

    @property
    def rank(self) -> int | None:
        """The place in line (section 1), 0 the highest, as of the last bytes read.

        None while not connected, for an observer, and with a keep while the seat is absent, which it is behind the
        `deadline` even if the connection looks open.
        """
        kept = self._options.kept
        return self._seat.rank if kept is None or kept.holds else None

    @property
    def ticket(self) -> int | None:
        """The member's identity (section 1), never given to another; None for an observer.

        None while not connected, except with a keep: it stays while the seat is absent.
        """
        kept = self._options.kept
        return self._seat.ticket if kept is None or kept.ticket is None else kept.ticket

    @property
    def state(self) -> str:
        """`"present"` with a rank, `"absent"` while the seat is kept without one, `"observing"`, or `"none"`."""
        session, kept = self._session, self._options.kept
        if session is not None and session.state is ClientState.OBSERVING:
            return "observing"
        if self.rank is not None:
            return "present"
        return "absent" if kept is not None and kept.state is not SeatState.NONE else "none"

    @property
    def keep(self) -> float:
        """The seconds for which the server keeps the seat of a lost connection (section 9), as it has granted them."""
        kept = self._options.kept
        return 0.0 if kept is None else kept.keep_s

    @property
    def deadline(self) -> float | None:
        """With a keep: the time of `time.monotonic` from which on this client holds no rank (section 13).

        It is when the last PING that was answered was sent, plus the keep. None without a keep, or without a seat.
        """
        kept = self._options.kept
        return None if kept is None else kept.deadline_s

    @property
    def baton(self) -> Baton | None:
        """With rank 0: the note that came with it (section 10), or that this client has written since; None if none.

        It comes right behind the rank; `lead` waits for it.
        """
        return self._seat.baton

    def _term_of(self, ticket: int) -> Callable[[], bool]:
        """Tells whether the term that begins now goes on: in the same seat, be its ticket that of another one, too."""
        session, kept = self._session, self._options.kept
        if kept is not None and kept.keep_s:
            generation = kept.generation
            return lambda: not self.closed and kept.generation == generation and kept.holds_ticket(ticket)
        return lambda: self._session is session and (self.rank, self.ticket) == (0, ticket)

    def _check_seat(self, step: str) -> None:
        if self._options.observe:
            raise StateError(step, "this client only looks on")

    @property
    def member_count(self) -> int | None:
        """The number of members, as of the server's last word: at joining, with promotions, and with `who`."""
        return self._seat.member_count

    @property
    def capacity(self) -> int | None:
        """The number of seats in the room."""
        return self._seat.capacity

    @property
    def max_payload(self) -> int | None:
        """The largest payload that may be sent, in bytes (section 3.2); None while not connected."""
        session = self._session
        return None if session is None else session.max_payload
