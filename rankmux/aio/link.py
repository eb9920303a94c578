"""A client session on a socket that an asyncio loop watches: it reads, writes, and notices a silent server.

Everything happens in callbacks of the loop; no task has to wait for it. It keeps an inbox, and knows no task, no
handler and no receipt. A transport of asyncio would send bytes again, or lose some, when a signal handler raises behind
its `send`; here the connection is reset then, before it is used again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from ..client.failures import interrupted, used_after_fork
from ..client.guards import Guard
from ..client.limits import LULL_FROM_BYTES, LULL_MAX_BYTES, LULL_S, UNSENT_MAX_BYTES
from ..client.link import StreamLink
from ..client.reports import report_refusals, report_turned_away
from ..client.stream import Stream
from ..core.client.events import ClientEvent
from ..core.client.inbox import Inbox
from ..core.client.session import ClientSession, ClientState

__all__ = ["LoopLink"]

_T = TypeVar("_T")
_POSTED_MAX_BYTES = 32 * 1024  # before it is sent in the same turn


class LoopLink:
    """A session, its inbox and its socket, from `open` on.

    `received(link, events)` is called when the inbox has taken `events`; without events, when the link can write again,
    is gone, or its timer has run. `clock` gives seconds that never go back. `gone`: there is no socket. `write_paused`:
    enough output waits. `read_paused`: nothing is received.
    """

    def __init__(
        self,
        session: ClientSession,
        received: Callable[[LoopLink, list[ClientEvent]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = session
        self.inbox = Inbox(session)
        self.write_paused = False
        self._received = received
        self._clock = clock
        self._pid = os.getpid()
        self._guard = Guard()  # around everything that moves bytes or events
        self._link: StreamLink | None = None
        self._reading = self._writing = False  # what the loop watches for
        self.read_paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._turn_due = self._post_due = False
        self._lull_timer: asyncio.TimerHandle | None = None

    @property
    def ended(self) -> bool:
        """Whether the session has ended: nothing goes in or out any more."""
        return self.session.state is ClientState.ENDED

    @property
    def gone(self) -> bool:
        """Whether there is no socket: not yet, or no longer."""
        return self._link is None or self._link.stream.closed

    def fileno(self) -> int:
        """The socket's descriptor, -1 when there is none."""
        return -1 if self._link is None else self._link.fileno()

    @property
    def unsent_size(self) -> int:
        """The bytes of output that wait."""
        head = b"" if self._link is None else self._link.stream.head
        return len(head) + self.session.output_size

    # for its owner

    def open(self, sock: socket.socket) -> None:
        """Begin on a connected socket."""
        self._link = StreamLink(self.session, Stream(sock), self._clock)
        self._run(self._link.flush)

    def send(self, step: Callable[[], _T]) -> _T:
        """The value of `step()`, which makes output of the session; as much as possible is sent at once."""
        if os.getpid() != self._pid:
            raise used_after_fork()
        self.mend()
        with self._guard:
            value = step()
            if self._link is not None and not self._writing:
                self._link.flush()
            self._watch()
        return value

    def post(self, step: Callable[[], _T]) -> _T:
        """As `send`, but what several calls post in one turn of the loop is sent together."""
        if os.getpid() != self._pid:
            raise used_after_fork()
        self.mend()
        with self._guard:
            value = step()
            if self.session.output_size >= _POSTED_MAX_BYTES:
                if self._link is not None and not self._writing:
                    self._link.flush()
                self._watch()
            elif not (self._writing or self._post_due):
                self._post_due = True
                asyncio.get_running_loop().call_soon(self._on_posted)
        return value

    def flush(self) -> None:
        """Send what has been posted, as much as is possible."""
        if self.session.output_size and self._link is not None:
            with self._guard:
                self._link.flush()
                self._watch()

    def read(self, on: bool) -> bool:
        """Resume reading if `on`, else pause it, so that TCP slows the senders down; True if that is a change."""
        if self._link is None or self.ended or on is not self.read_paused:
            return False
        self.read_paused = not on
        self._link.stream.wake_at(1)
        if on:
            self._link.listen()  # the silence was ours
        self._watch()
        self._set_timer()
        return True

    def lull(self, size: int) -> None:
        """Read again when `size` bytes have come, or in 5 ms; 0: as soon as there is something.

        To be called after each reading, which ends it.
        """
        if self._link is None or self.ended:
            return
        lulls = size >= LULL_FROM_BYTES
        self._link.stream.wake_at(min(size, LULL_MAX_BYTES) if lulls else 1)
        if lulls and self._lull_timer is None:
            self._lull_timer = asyncio.get_running_loop().call_later(LULL_S, self._on_lull)

    def abort(self, reason: str = "this client closed it") -> None:
        """Close at once; the session ends for `reason` if it has not ended yet."""
        self._run(lambda: self.session.receive_eof(reason))

    def disown(self) -> None:
        """In a forked child: close the descriptor, which leaves the parent's connection as it is."""
        if self._link is not None:
            self._link.close()

    # for the loop

    def _on_readable(self) -> None:
        if self._link is not None:
            self._run(self._link.run_once)

    def _on_writable(self) -> None:
        if self._link is not None:
            self._run(self._link.run_once if self._link.stream.wants_write_to_read else self._link.flush)

    def _on_timer(self) -> None:
        self._timer = None
        if self._link is not None:
            # Loops run timers behind readable sockets, so arrived bytes are noted already.
            self._run(self._link.run_paused if self.read_paused else self._link.run_unread)

    def _on_posted(self) -> None:
        self.mend()
        with self._guard:
            self._post_due = False
            if self._link is not None and not self._writing:
                self._link.flush()
                self._watch()

    def _on_lull(self) -> None:
        self._lull_timer = None
        if self._link is not None and not (self.ended or self.read_paused):
            self._run(self._link.run_once)

    def _on_turn(self) -> None:
        self._turn_due = False
        if self._link is not None and self._link.wants_read_now and not self.read_paused:
            self._run(self._link.run_once)
        else:
            self._run(lambda: None)

    # inside

    def _run(self, step: Callable[[], None]) -> None:
        self.mend()
        with self._guard:
            step()
            if self.ended:
                self._unwatch()
                if self._link is not None:
                    self._link.close()
            self._tell(self.session.events())

    def mend(self) -> None:
        """Reset the connection if an exception came in between while bytes or events moved."""
        if not self._guard.torn:
            return
        self._unwatch()
        if self._link is not None:
            self._link.reset()
        with self._guard:
            self._tell(self.session.interrupt(interrupted()))

    def _tell(self, events: list[ClientEvent]) -> None:
        now_s = self._clock()
        for event in events:
            self.inbox.apply(event, now_s)
        if self.inbox.turned_away:
            report_turned_away(self.inbox.take_turned_away())
        if self.inbox.refusals:
            report_refusals(self.inbox.refusals)
            self.inbox.refusals.clear()
        if self.session.output_size and self._link is not None:
            self._link.flush()  # the inbox may have answered
        self._watch()
        if self.ended or self._timer is None:
            self._set_timer()
        self._received(self, events)

    def _watch(self) -> None:
        """Have the loop call back for what is worth waiting for."""
        link, ended = self._link, self.ended
        if link is None or link.stream.closed:
            return
        size = self.unsent_size
        self.write_paused = not ended and size > (
            UNSENT_MAX_BYTES // 4 if self.write_paused else UNSENT_MAX_BYTES
        )
        reading, writing = not (ended or self.read_paused), link.wants_write
        if reading is not self._reading or writing is not self._writing:
            self._register(link.fileno(), reading, writing)
        if (ended or (reading and link.wants_read_now)) and not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._on_turn)

    def _register(self, fd: int, reading: bool, writing: bool) -> None:
        loop = asyncio.get_running_loop()
        if reading is not self._reading:
            self._reading = reading
            if reading:
                loop.add_reader(fd, self._on_readable)
            else:
                loop.remove_reader(fd)
        if writing is not self._writing:
            self._writing = writing
            if writing:
                loop.add_writer(fd, self._on_writable)
            else:
                loop.remove_writer(fd)

    def _unwatch(self) -> None:
        if self._link is not None and not self._link.stream.closed:
            loop, fd = asyncio.get_running_loop(), self._link.fileno()
            loop.remove_reader(fd)
            loop.remove_writer(fd)
            self._reading = self._writing = self.write_paused = False
        if self._lull_timer is not None:
            self._lull_timer.cancel()
            self._lull_timer = None

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._link is None:
            return
        if (patience_s := self._link.patience_s()) is not None:
            self._timer = asyncio.get_running_loop().call_later(patience_s, self._on_timer)
