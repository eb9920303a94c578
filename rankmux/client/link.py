"""One client session on one non-blocking stream: reads, writes, and finds out when the other side is silent.

It never waits: whoever owns it (the blocking client, the command line) waits for `fileno()`, as long as `patience_s`
says, and then calls `run`. It knows no thread and keeps nothing of what it reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from ..core.client.events import Event
from ..core.client.keepalive import Liveness
from ..core.client.session import ClientSession, State
from .stream import Stream

__all__ = ["Link"]

_SEND_BYTES = 64 * 1024
_READS_MAX = 16  # of 256 KiB each, before the owner gets to look at what came


class Link:
    """A session and its stream. `clock` gives seconds that never go back."""

    def __init__(
        self, session: ClientSession, stream: Stream, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.session = session
        self.stream = stream
        self._liveness = Liveness(session, clock)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self.stream.fileno()

    @property
    def ended(self) -> bool:
        """Whether nothing goes in or out any more."""
        return self.session.state is State.ENDED

    @property
    def wants_write(self) -> bool:
        """The one predicate "output pending": waiting for writability is worth it."""
        return not self.ended and (self.stream.waits_for_write or self.session.output_size > 0)

    @property
    def wants_read_now(self) -> bool:
        """Whether there is input of which readiness says nothing."""
        return not self.ended and self.stream.has_buffered_input

    def patience_s(self, *, reading: bool = True) -> float | None:
        """How long the owner may wait until the link has something to do by itself; None for ever."""
        return self._liveness.patience_s(listening=reading)

    def run(self, readable: bool) -> None:
        """Do what can be done without waiting: read if `readable`, write what is owed. Take `events()` then.

        Call it with `readable` as readiness says now: an owner that was away for a minute hears what has arrived
        meanwhile before it judges the silence.
        """
        if readable and not self.ended:
            self._read()
        else:
            self._liveness.judge()
        self.flush()

    def run_unread(self) -> None:
        """What `run` is for an owner that wants to receive nothing for now: write, and show the server that we live."""
        self._liveness.show_life()
        self.flush()

    def events(self) -> list[Event]:
        """Take what has happened since the last call, in order."""
        return self.session.events()

    def flush(self) -> None:
        """Write what is owed, as far as the socket takes it."""
        while not self.ended and (self.stream.head or self.session.output_size):
            data = b"" if self.stream.head else self.session.data_to_send(_SEND_BYTES)
            try:
                if not self.stream.send(data):
                    return
            except OSError as error:
                self._fail(error)

    def _read(self) -> None:
        for _ in range(_READS_MAX):
            try:
                data = self.stream.receive()
            except OSError as error:
                self.session.receive_eof(_words(error))
                return
            if data is None:
                return
            self._liveness.heard()
            if not data:
                self.session.receive_eof()
                return
            self.session.receive_data(data)
            if self.ended or not self.stream.has_buffered_input:
                return

    def _fail(self, error: OSError) -> None:
        # What the server said before it went, an ERROR perhaps, is worth more than the errno of our send.
        with suppress(OSError):
            while not self.ended and (data := self.stream.receive()):
                self.session.receive_data(data)
        self.session.receive_eof(_words(error))

    def close(self, reason: str = "this client closed it") -> None:
        """Close the stream; the session ends for `reason` if it has not ended yet."""
        self.stream.close()
        self.session.receive_eof(reason)


def _words(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
