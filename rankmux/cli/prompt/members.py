"""Queries of the prompt about the room: the number of members, the list of /who, the members to complete.

It knows no keys and no terminal.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ...aio import Client
from ...core.wire.frames import MemberInfo
from ...errors import RankmuxError
from ..commands.who import table
from ..shared.wording import why
from .screen import Screen

__all__ = ["Members"]

_LOOK_S = 1.0  # joins are not announced, so the number is asked for
_PATIENCE_S = 1.0  # completion waits no longer
_LISTED_MAX = 100


class Members:
    """Asks through `client`, shows on `screen`."""

    def __init__(self, client: Client, screen: Screen) -> None:
        self._client = client
        self._screen = screen

    async def keep_counting(self) -> None:
        """Keep the number of members up to date, second by second."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._client.rank is not None:
                with suppress(RankmuxError):
                    await self._client.count()
                    self._screen.refresh()

    async def show(self) -> None:
        """List the members."""
        if self._client.rank is None:
            self._screen.say([("bad", "No list: there is no connection")])
            return
        try:
            members = await self._client.who()
        except RankmuxError as error:
            self._screen.say([("bad", f"No list: {why(error)}")])
            return
        rows = [member._asdict() for member in members[:_LISTED_MAX]]
        lines = list(table(rows, self._client.ticket, self._screen.columns))
        if len(members) > _LISTED_MAX:
            lines.append(f"… {len(members) - _LISTED_MAX:,} more: `rankmux-client who` lists them all")
        self._screen.say(*([("", line)] for line in lines))

    async def below(self) -> list[MemberInfo]:
        """The members below; none when the answer takes too long."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                members = await self._client.who()
        except (RankmuxError, TimeoutError):
            return []
        rank = self._client.rank
        return [] if rank is None else [member for member in members if member.rank > rank]
