"""A client session on an asyncio transport: it reads, writes, and notices a silent server.

Everything happens in callbacks of the loop; no task has to wait for it. It keeps an inbox, and knows no task, no
handler and no receipt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

from ..client.failures import reason_of
from ..client.limits import UNSENT_MAX_BYTES
from ..client.reports import report_refusal, report_turned_away
from ..core.client.events import ClientEvent
from ..core.client.inbox import Inbox
from ..core.client.keepalive import Keepalive
from ..core.client.session import ClientSession, ClientState

__all__ = ["TransportLink"]


class TransportLink(asyncio.Protocol):
    """A session, its inbox and its transport.

    `received(link, events)` is called when the inbox has taken `events`; without events, when the link can write again,
    is gone, or its timer has run. `clock` gives seconds that never go back. `gone`: there is no transport, and no
    descriptor. `write_paused`: the transport holds enough output.
    """

    def __init__(
        self,
        session: ClientSession,
        received: Callable[[TransportLink, list[ClientEvent]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = session
        self.inbox = Inbox(session)
        self.write_paused = False
        self.gone = True
        self._received = received
        self._clock = clock
        self._keepalive = Keepalive(session, clock)
        self._transport: asyncio.Transport | None = None
        self._read_paused = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def ended(self) -> bool:
        """Whether the session has ended: nothing goes in or out any more."""
        return self.session.state is ClientState.ENDED

    # for its owner

    def flush(self) -> None:
        """Write pending output, unless the transport holds enough: the rest waits in the session, which bounds it."""
        if self._transport is not None and self.session.output_size and not self.write_paused:
            self._transport.write(self.session.data_to_send())

    def read(self, on: bool) -> bool:
        """Resume reading if `on`, else pause it, so that TCP slows the senders down; True if that is a change."""
        if self._transport is None or self._transport.is_closing() or on is not self._read_paused:
            return False
        self._read_paused = not on
        if on:
            self._keepalive.heard()  # the silence was ours
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
        self._set_timer()
        return True

    def abort(self, reason: str = "this client closed it") -> None:
        """Close at once; the session ends for `reason` if it has not ended yet. `gone` follows a moment later."""
        if self._transport is not None:
            self._transport.abort()
        if not self.ended:
            self.session.receive_eof(reason)
            self._turn()

    # for the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.gone = False
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=UNSENT_MAX_BYTES)
        self._turn()

    def data_received(self, data: bytes) -> None:
        self._keepalive.heard()
        self.session.receive_data(data)
        self._turn()

    def eof_received(self) -> None:
        self.session.receive_eof()
        self._turn()

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        self._transport = None
        self.session.receive_eof(*([reason_of(error)] if error is not None else []))
        self._turn()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        self._turn()

    # inside

    def _turn(self) -> None:
        events, now_s = self.session.events(), self._clock()
        for event in events:
            self.inbox.apply(event, now_s)
        if count := self.inbox.take_turned_away():
            report_turned_away(count)
        while self.inbox.refusals:
            report_refusal(self.inbox.refusals.popleft())
        self.flush()
        if self.ended and self._transport is not None:
            self._transport.abort()
        if self.ended or self._timer is None:
            self._set_timer()
        self._received(self, events)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (patience_s := self._keepalive.patience_s(listening=not self._read_paused)) is not None:
            self._timer = asyncio.get_running_loop().call_later(patience_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._read_paused:
            self._keepalive.show_life()
        else:
            self._keepalive.check()  # loops run timers behind readable sockets, so arrived bytes are noted already
        self._turn()
