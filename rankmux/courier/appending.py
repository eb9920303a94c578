"""Appending to the log: entries are sent and forgotten, since only reading them back tells what became of them.

Now and then one is sent with the wish for an answer, to learn why nothing moves: nobody there, no permission, full. No
entry has a `Nats-Msg-Id`: a resend of one that was lost would be dropped as a double of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from nats.aio.msg import Msg

from .connection import Connection
from .settings import CourierSettings

__all__ = ["Appender"]

_ASK_S = 0.2
_ANSWER_S = 5.0  # an election takes up to 9 s; nothing is stored in it either
_FIRST = {"Nats-Expected-Last-Sequence": "0"}
_NOT_FIRST = 10071
_FULL = 10077


class Appender:
    """Sends over one connection. `complain` gets the reasons, and "" once an entry was stored."""

    def __init__(
        self,
        connection: Connection,
        settings: CourierSettings,
        complain: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._complain = complain
        self._clock = clock
        self._inbox = connection.inbox()
        self._ask_at = 0.0
        self._asked_at: float | None = None  # the first time without an answer since

    async def begin(self) -> None:
        """Listen for answers. Raises Unreachable."""
        await self._connection.subscribe(self._inbox, self._answered)

    async def append(self, entry: bytes, *, first: bool) -> None:
        """Send one entry. Raises Unreachable."""
        now = self._clock()
        reply = ""
        if now >= self._ask_at:
            self._ask_at = now + _ASK_S
            reply = self._inbox
            if self._asked_at is None:
                self._asked_at = now
            elif now >= self._asked_at + _ANSWER_S:
                self._complain(
                    "NATS does not say that it has stored entries: it elects a leader, or its disk is full, or hangs; "
                    "look at its own log"
                )
        await self._connection.publish(self._settings.subject, entry, reply, _FIRST if first else None)

    async def _answered(self, message: Msg) -> None:
        self._asked_at = None
        if (message.headers or {}).get("Status") == "503":
            self._complain("nothing in NATS takes entries: the stream is gone, or has no leader")
            return
        error = json.loads(message.data).get("error") if message.data else None
        if error is None:
            self._complain("")
            return
        code, text = error.get("err_code", 0), error.get("description", "")
        if code == _FULL:
            text += f": raise its max_bytes (`nats stream edit {self._settings.stream} --max-bytes ...`)"
        if code != _NOT_FIRST:  # another server began the room
            self._complain(f"NATS does not store entries: {text} ({code})")
