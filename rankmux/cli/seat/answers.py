"""The commands and WHO of a session that several send through: which answer belongs to whom.

Feed `apply` every event of the session, and `lost` its end; the rest is callbacks. It knows no socket, no clock and no
control protocol, so any form of the client can use it.
"""

from __future__ import annotations

from collections.abc import Callable

from ...core.client.arguments import To, target_of
from ...core.client.events import (
    ClientEvent,
    CommandAccepted,
    CommandDone,
    MembersPage,
    RefusalReceived,
    ResultRouted,
)
from ...core.client.listing import Listing
from ...core.client.session import ClientSession
from ...core.wire.frames import MemberInfo
from ...errors import RankmuxError, StateError

__all__ = ["Commands", "Listed", "Told"]

Told = Callable[[CommandAccepted | RefusalReceived | ResultRouted | CommandDone | RankmuxError], None]
"""Is called with each answer to one command; an error is the last one: the connection went first."""

Listed = Callable[[list[MemberInfo] | RankmuxError], None]
"""Is called once with all members, or with why there is no list."""


def _ignore(_: object) -> None:
    pass


class Commands:
    """What was sent and is not settled yet."""

    def __init__(self) -> None:
        self._told: dict[int, Told] = {}
        self._with_results: set[int] = set()
        self._listings: dict[int, tuple[ClientSession, Listing, Listed]] = {}

    def send(
        self, session: ClientSession, payload: bytes, to: To, *, results: bool, ttl_ms: int, told: Told
    ) -> int:
        """Send a command; its id. Raises what `ClientSession.send_command` does."""
        target, arg = target_of(to)
        id_ = session.send_command(payload, target, arg, results=results, ttl_ms=ttl_ms)
        self._told[id_] = told
        if results:
            self._with_results.add(id_)
        return id_

    def forget(self, id_: int) -> None:
        """Nobody waits for the answers to this command any more."""
        if id_ in self._told:
            self._told[id_] = _ignore

    def who(self, session: ClientSession, listed: Listed) -> None:
        """Ask for all members. Raises StateError."""
        self._ask(session, Listing(), listed)

    def _ask(self, session: ClientSession, listing: Listing, listed: Listed) -> None:
        self._listings[session.send_who(*listing.request())] = session, listing, listed

    def apply(self, event: ClientEvent) -> bool:
        """Hand on what is an answer to something sent here; whether it was one."""
        match event:
            case CommandAccepted(id=id_) | ResultRouted(id=id_):
                told = self._told.get(id_)
                if told is not None and isinstance(event, CommandAccepted) and id_ not in self._with_results:
                    del self._told[id_]
            case RefusalReceived(id=id_) | CommandDone(id=id_):
                told = self._told.pop(id_, None)
                self._with_results.discard(id_)
            case MembersPage(id=id_) if id_ in self._listings:
                self._receive(event)
                return True
            case _:
                return False
        if told is not None:
            told(event)
        return told is not None

    def _receive(self, page: MembersPage) -> None:
        session, listing, listed = self._listings.pop(page.id)
        try:
            if listing.receive(page):
                listed(listing.members)
            else:
                self._ask(session, listing, listed)
        except RankmuxError as error:
            listed(error)

    def lost(self, error: RankmuxError | None) -> None:
        """The session has ended; nothing more comes."""
        why = error or StateError("getting an answer", "this seat is given up")
        commands, self._told = self._told, {}
        listings, self._listings = self._listings, {}
        self._with_results.clear()
        for told in commands.values():
            told(why)
        for _, _, listed in listings.values():
            listed(why)
