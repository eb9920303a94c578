"""One client session on one asyncio transport: reads, writes, and finds out when the other side is silent.

Everything happens in callbacks of the loop; nobody needs to wait for it to happen. It keeps an inbox, and knows no
task, no handler and no receipt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

from ..core.client.events import Event
from ..core.client.inbox import Inbox
from ..core.client.keepalive import Liveness
from ..core.client.received import report_refusal, report_turned_away
from ..core.client.session import ClientSession, State

__all__ = ["Link"]

_UNSENT_MAX_BYTES = 256 * 1024  # senders wait above it until the server has read


class Link(asyncio.Protocol):
    """A session, its inbox and its transport.

    `received(link, events)` is called when the inbox has taken `events`, and, without any, when the link can write
    again, is gone, or has looked at its clock. `clock` gives seconds that never go back.
    """

    def __init__(
        self,
        session: ClientSession,
        received: Callable[[Link, list[Event]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = session
        self.inbox = Inbox(session)
        self.write_paused = False
        self.gone = True  # no transport, no descriptor
        self._received = received
        self._clock = clock
        self._liveness = Liveness(session, clock)
        self._transport: asyncio.Transport | None = None
        self._read_paused = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing goes in or out any more."""
        return self.session.state is State.ENDED

    # what its owner does

    def flush(self) -> None:
        """Write what is owed, unless the transport holds enough: the rest waits in the session, which bounds it."""
        if self._transport is not None and self.session.output_size and not self.write_paused:
            self._transport.write(self.session.data_to_send())

    def read(self, on: bool) -> bool:
        """Receive more, or no more for now; whether that is a change. TCP slows down who sends it."""
        if self._transport is None or self._transport.is_closing() or on is not self._read_paused:
            return False
        self._read_paused = not on
        if on:
            self._liveness.heard()  # the silence was ours
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
        self._set_timer()
        return True

    def abort(self, reason: str = "this client closed it") -> None:
        """Close at once; the session ends for `reason` if it has not ended yet. `gone` is said a moment later."""
        if self._transport is not None:
            self._transport.abort()
        if not self.ended:
            self.session.receive_eof(reason)
            self._turn()

    # what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.gone = False
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_UNSENT_MAX_BYTES)
        self._turn()

    def data_received(self, data: bytes) -> None:
        self._liveness.heard()
        self.session.receive_data(data)
        self._turn()

    def eof_received(self) -> None:
        self.session.receive_eof()
        self._turn()

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        self._transport = None
        self.session.receive_eof(*([_words(error)] if error is not None else []))
        self._turn()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        self._turn()

    # inside

    def _turn(self) -> None:
        events, now_s, turned_away = self.session.events(), self._clock(), self.inbox.turned_away
        for event in events:
            self.inbox.apply(event, now_s)
        report_turned_away(self.inbox.turned_away - turned_away)
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
        if (patience_s := self._liveness.patience_s(listening=not self._read_paused)) is not None:
            self._timer = asyncio.get_running_loop().call_later(patience_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._read_paused:
            self._liveness.show_life()
        else:
            self._liveness.judge()  # loops run timers behind what has arrived, so that is heard already
        self._turn()


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
