"""Who is in the room, asked for by the prompt: how many, a list to look at, those below to complete.

It knows no keys and no terminal.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ...core.client.session import ClientSession
from ...core.wire.frames import MemberInfo
from ...errors import RankmuxError, StateError
from ..commands.who import table
from ..seat.answers import Listed
from ..seat.seat import Seat
from ..shared.client_words import escaped
from ..shared.wording import why
from .loop import PromptLoop
from .screen import Screen

__all__ = ["Members"]

_LOOK_S = 1.0  # nobody is told of joins, so it is asked how many there are
_PATIENCE_S = 1.0  # completion does not wait longer
_LISTED_MAX = 100


class Members:
    """Asks through `seat`, shows on `screen`."""

    def __init__(self, loop: PromptLoop, seat: Seat, screen: Screen) -> None:
        self._loop = loop
        self._seat = seat
        self._screen = screen
        self._counting = False

    def look(self) -> None:
        """Have the session know how many there are, from now on every second."""
        self._loop.after(_LOOK_S, self.look)
        session = self._seat.session
        if session is not None and not self._counting:
            with suppress(StateError):
                session.send_who(0, 0)
                self._counting = True

    def counted(self) -> None:
        """The session knows how many there are."""
        self._counting = False
        self._screen.refresh()

    def say(self) -> None:
        """List them."""

        def listed(members: list[MemberInfo] | RankmuxError) -> None:
            if isinstance(members, RankmuxError):
                self._screen.say([("bad", f"No list: {why(members)}")])
                return
            session = self._seat.session
            ticket = None if session is None else session.seat.ticket
            rows = [member._asdict() for member in members[:_LISTED_MAX]]
            lines = [escaped(line) for line in table(rows, ticket)]
            if len(members) > _LISTED_MAX:
                lines.append(f"… {len(members) - _LISTED_MAX:,} more: rankmux-client who lists them all")
            self._screen.say(*([("", line)] for line in lines))

        try:
            self._ask(listed)
        except StateError as error:
            self._screen.say([("bad", f"No list: {error}")])

    async def below(self) -> list[MemberInfo]:
        """Those below us; none when they are not told in time."""
        found: asyncio.Future[list[MemberInfo]] = asyncio.get_running_loop().create_future()

        def listed(members: list[MemberInfo] | RankmuxError) -> None:
            if not found.done():
                found.set_result([] if isinstance(members, RankmuxError) else members)

        try:
            session = self._ask(listed)
            members = await asyncio.wait_for(found, _PATIENCE_S)
        except (StateError, TimeoutError):
            return []
        rank = session.seat.rank
        return [] if rank is None else [member for member in members if member.rank > rank]

    def _ask(self, listed: Listed) -> ClientSession:
        session = self._seat.session
        if session is None:
            raise StateError("listing the members", "there is no connection")
        self._seat.commands.who(session, listed)
        self._loop.settle_again()
        return session
