"""A client session on a non-blocking stream: it reads, writes, and notices a silent server.

It never waits: its owner waits for `fileno()`, for `patience_s` at most, and then calls `run`. It knows no thread and
keeps nothing that it reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from ..core.client.events import ClientEvent
from ..core.client.keepalive import Keepalive
from ..core.client.session import ClientSession, ClientState
from .failures import cure_of, reason_of
from .stream import Stream

__all__ = ["StreamLink"]

_SEND_BYTES = 64 * 1024
_READS_MAX = 16  # of 64 KiB each, before the owner takes the events


class StreamLink:
    """A session and its stream. `clock` gives seconds that never go back."""

    def __init__(
        self, session: ClientSession, stream: Stream, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.session = session
        self.stream = stream
        self._keepalive = Keepalive(session, clock)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self.stream.fileno()

    @property
    def ended(self) -> bool:
        """Whether the session has ended: nothing goes in or out any more."""
        return self.session.state is ClientState.ENDED

    @property
    def wants_write(self) -> bool:
        """Whether output is pending: the one predicate for flushing and for waiting until the stream is writable."""
        return (self.session.output_size > 0 or self.stream.waits_for_write) and not self.ended

    @property
    def wants_read_now(self) -> bool:
        """Whether there is input that readiness does not show."""
        return self.stream.has_buffered_input and not self.ended

    def patience_s(self) -> float | None:
        """The seconds that the owner may wait before the link has something to do by itself; None: for ever."""
        return self._keepalive.patience_s()

    def run(self, readable: bool) -> None:
        """Read if `readable`, write pending output, neither waiting. Take `events()` then.

        `readable` is the readiness of this moment, so that an owner that was away for a minute reads the bytes that
        have arrived before the link takes the server for silent.
        """
        if readable and not self.ended:
            self._read()
            self._keepalive.check_keep()
        else:
            self._keepalive.check()
        self.flush()

    def run_once(self) -> None:
        """`run` for an owner that does not know whether there is something to read; reads once at most."""
        if not self.ended and self._read(reads=1):
            self._keepalive.check_keep()
        else:
            self._keepalive.check()
        self.flush()

    def run_unread(self) -> None:
        """`run` for an owner that knows of nothing to read."""
        self.run(False)

    def listen(self) -> None:
        """Reading goes on: the silence so far was this side's."""
        self._keepalive.heard()

    def run_paused(self) -> None:
        """`run` for an owner that receives nothing for now: write, and show the server that this client is alive."""
        self._keepalive.show_life()
        self.flush()

    def events(self) -> list[ClientEvent]:
        """Take the events since the last call, in order."""
        return self.session.events()

    def flush(self) -> None:
        """Write pending output, as far as the socket takes it."""
        session, stream = self.session, self.stream
        while (stream.head or session.output_size) and not self.ended:
            data = b"" if stream.head else session.data_to_send(_SEND_BYTES)
            try:
                if not stream.send(data):
                    return
            except OSError as error:
                self._fail(error)

    def _read(self, reads: int = _READS_MAX) -> bool:
        """Read, and return whether there was something, be it the end."""
        for count in range(reads):
            try:
                data = self.stream.receive()
            except OSError as error:
                self.session.receive_eof(reason_of(error), self._cure(error))
                return True
            if data is None:
                return count > 0
            self._keepalive.heard()
            if not data:
                self.session.receive_eof(cure=self._cure())
                return True
            self.session.receive_data(data)
            if not self.stream.has_buffered_input or self.ended:
                return True
        return True

    def _fail(self, error: OSError) -> None:
        # The bytes that the server sent before it went, perhaps an ERROR, explain more than the errno of our send.
        with suppress(OSError):
            while not self.ended and (data := self.stream.receive()):
                self.session.receive_data(data)
        self.session.receive_eof(reason_of(error), self._cure(error))

    def _cure(self, error: OSError | None = None) -> str:
        if self.stream.is_tls:
            return "" if error is None else cure_of(error)
        return "tls?"

    def reset(self) -> None:
        """Close the stream with a reset, and send nothing more."""
        self.stream.reset()

    def close(self, reason: str = "this client closed it") -> None:
        """Close the stream; the session ends for `reason` if it has not ended yet.

        After a silence the server may still hear us and hold our seat. A copy of the descriptor then keeps it: until
        what acts with the seat has ended, nobody else should get it.
        """
        self.stream.close(for_all=not self._keepalive.gave_up)
        self.session.receive_eof(reason)
