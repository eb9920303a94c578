"""One connection to a server, kept in a loop: joined, answered for, made again when that is wanted, left.

Answers to what is sent through `commands` go to who sent it; everything else that happens goes to `on_event`. Nothing
blocks but the one connecting of a seat that does not reconnect.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from socket import socket

from ...client.address import Address
from ...client.connect import connected_socket
from ...client.link import StreamLink
from ...client.stream import Stream
from ...core.client.backoff import Backoff
from ...core.client.events import ClientEvent, Ended, ServerErrorReceived, Welcomed
from ...core.client.session import ClientSession, ClientState
from ...errors import ConfigError, ConnectionLost, RankmuxError, StateError
from .answers import Commands
from .connecting import Connecting
from .loop import READABLE, WRITABLE, Driver, Timing

__all__ = ["Seat"]

_GOODBYE_S = 2.0  # a server takes a second at most to send what it still owes (section 3.4)
_TOKEN_RETRY_S = 2.0


class Seat:
    """A seat that is held in `loop`. `token()` is asked at each connection; `timeout_s` bounds connecting.

    `on_event(event)` gets what is no answer; `on_lost(error, again_s)` comes after each loss and each vain try,
    with the seconds until it is tried again, None for never.
    """

    def __init__(
        self,
        loop: Driver,
        address: Address,
        name: str,
        token: Callable[[], bytes],
        timeout_s: float,
        *,
        reconnect: bool,
        on_event: Callable[[ClientEvent], None],
        on_lost: Callable[[RankmuxError, float | None], None],
    ) -> None:
        self.commands = Commands()
        self._loop = loop
        self._address = address
        self._name = name
        self._token = token
        self._timeout_s = timeout_s
        self._backoff = Backoff() if reconnect else None
        self._on_event = on_event
        self._on_lost = on_lost
        self._link: StreamLink | None = None
        self._connecting: Connecting | None = None
        self._deadline: Timing | None = None
        self._retry: Timing | None = None
        self._left: Callable[[], None] | None = None
        loop.settlers.append(self.settle)

    @property
    def session(self) -> ClientSession | None:
        """The session, while it may send; None while not joined."""
        link = self._link
        return link.session if link is not None and link.session.state is ClientState.JOINED else None

    @property
    def output_size(self) -> int:
        """How many bytes wait to be sent."""
        return 0 if self._link is None else self._link.session.output_size

    def open(self) -> None:
        """Join; WELCOME comes later. Raises LocalError; ConnectionLost unless it reconnects."""
        session = self._new_session()
        if self._backoff is None:
            self._join(session, connected_socket(self._address, self._timeout_s))
        else:
            self._connect(session)

    def _new_session(self) -> ClientSession:
        return ClientSession(self._name, self._token())

    def _connect(self, session: ClientSession) -> None:
        self._connecting = Connecting(
            self._loop,
            self._address,
            self._timeout_s,
            connected=lambda sock: self._join(session, sock),
            failed=self._not_connected,
        )

    def _not_connected(self, error: ConnectionLost) -> None:
        self._connecting = None
        self._failed(error)

    def _join(self, session: ClientSession, sock: socket) -> None:
        self._connecting = None
        self._link = StreamLink(session, Stream(sock), self._loop.clock)
        self._deadline = self._loop.after(self._timeout_s, self._judge_welcome)

    def leave(self, then: Callable[[], None]) -> None:
        """Give the seat back; `then()` when the connection has ended. No loss is reported any more."""
        self._left = then
        if self._retry is not None:
            self._retry.cancel()
        if self._connecting is not None:
            self._connecting.close()
        if self._link is None:
            then()
            return
        with suppress(StateError):
            self._link.session.send_leave()
        if self._link.session.state is ClientState.LEAVING:
            self._deadline = self._loop.after(_GOODBYE_S, self._close)
        else:
            self._close()

    def settle(self) -> float | None:
        """Send what is to be sent, tell what has happened; how long the loop may sleep. Called by the loop."""
        while (link := self._link) is not None:
            if link.patience_s() == 0.0:
                link.run(False)
            link.flush()
            events = link.events()
            for event in events:
                self._apply(event)
                self._loop.settle_again()
            if not events:
                interest = READABLE | WRITABLE if link.wants_write else READABLE
                self._loop.watch(link.fileno(), interest, self._ready)
                return 0.0 if link.wants_read_now and self._ran() else link.patience_s()
        return None

    def _ran(self) -> bool:
        assert self._link is not None
        self._link.run(True)
        return True

    def _ready(self, mask: int) -> None:
        if self._link is not None:
            self._link.run(bool(mask & READABLE))

    def _judge_welcome(self) -> None:
        if self._link is not None and self._link.session.state is ClientState.AWAITING:
            self._link.session.receive_eof(f"the server was silent for {self._timeout_s:g} s")

    def _close(self) -> None:
        if self._link is not None:
            self._link.session.receive_eof("this client closed it")

    def _apply(self, event: ClientEvent) -> None:
        match event:
            case Ended(error=error):
                self._lose(error)
            case ServerErrorReceived():
                pass  # Ended says it
            case _ if self.commands.apply(event):
                pass
            case _:
                if isinstance(event, Welcomed) and self._deadline is not None:
                    self._deadline.cancel()
                    if self._backoff is not None:
                        self._backoff.reset()
                self._on_event(event)

    def _lose(self, error: RankmuxError | None) -> None:
        link = self._link
        assert link is not None
        self._loop.watch(link.fileno(), 0, self._ready)
        link.close()
        self._link = None
        if self._deadline is not None:
            self._deadline.cancel()
        self.commands.lost(error)
        if self._left is not None:
            self._left()
        elif error is not None:
            self._failed(error)

    def _failed(self, error: RankmuxError) -> None:
        delay_s = None
        if self._backoff is not None:
            with suppress(RankmuxError):  # of no use: the same error, which is told below
                delay_s = self._backoff.delay_s(error)
        if delay_s is not None:
            self._retry = self._loop.after(delay_s, self._reopen)
        self._on_lost(error, delay_s)

    def _reopen(self) -> None:
        try:
            session = self._new_session()
        except ConfigError as error:  # the token's file is being replaced, perhaps
            self._retry = self._loop.after(_TOKEN_RETRY_S, self._reopen)
            self._on_lost(error, _TOKEN_RETRY_S)
        except RankmuxError as error:
            self._failed(error)
        else:
            self._connect(session)
