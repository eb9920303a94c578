"""The deadlines: HELLO in time, frames in time, bytes taken in time, signs of life. No system calls.

One sweep judges all of them, some ten times a second while anything short is under way, else at most once a second, and
only when everything that had arrived was read: a peer that the process was too slow to read has not been silent. Nobody
is judged for time in which the process was stopped, or had no processor; time in which it worked counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain

from ...config import Config
from ...core.wire.frames import Ping
from .closes import CloseReason
from .connection import Connection
from .registry import Connections

__all__ = ["Deadlines"]

_BUSY_S = 0.1
_IDLE_S = 1.0
_GAP_S = 1.0  # the process did not run for longer than this: nobody is judged for that time
_READ_FIRST_TURNS = 16  # turns for which unread input puts a sweep off
_PING = Ping(b"").encode()


class Deadlines:
    """Judges `connections` by the limits of `config`; times are seconds of one monotonic clock.

    `cpu_clock` gives the processor time of the thread. The next sweep is planned for `next_at`.
    """

    def __init__(
        self,
        config: Config,
        connections: Connections,
        now: float,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._cpu_clock = cpu_clock
        self._cpu_s = cpu_clock()  # when the sweep was not late yet
        self._config = config
        self._connections = connections
        self._ping_s = config.ping_ms / 1000
        self._next_ping_at = 0.0
        self._unread_turns = 0
        self.next_at = now + self._interval()

    def judge(self, now: float, unread: bool) -> float | None:
        """Sweep if it is time and input is not `unread`; the lateness of the sweep in seconds, None without one."""
        self._unread_turns = self._unread_turns + 1 if unread else 0
        if now < self.next_at:
            self._cpu_s = self._cpu_clock()
            self.plan(now)
            return None
        if not self.may_judge(unread):
            return None
        late = now - self.next_at
        stopped = late if late < _GAP_S else late - (self._cpu_clock() - self._cpu_s)
        if stopped < _GAP_S:
            self._sweep(now)
        else:
            self._forgive(stopped, now)
        self._cpu_s = self._cpu_clock()
        self.next_at = now + self._interval()
        return late

    def plan(self, now: float) -> None:
        """Sweep earlier than planned if something short is under way now."""
        self.next_at = min(self.next_at, now + self._interval())

    def may_judge(self, unread: bool) -> bool:
        """Whether everything that had arrived was read, or has been waited for long enough."""
        return not unread or self._unread_turns >= _READ_FIRST_TURNS

    def _interval(self) -> float:
        """The longest time until the next sweep."""
        c = self._connections
        if c.greeting or c.ending or c.descriptors.partial_since or c.outbox.queues:
            return _BUSY_S
        return min(_IDLE_S, self._ping_s / 8)

    def _forgive(self, gap: float, now: float) -> None:
        """The process did not run for `gap` seconds until `now`: move every moment by that, at most up to now."""
        c = self._connections
        heard, partial_since = c.descriptors.heard, c.descriptors.partial_since
        for conn in c:
            conn.opened_at = min(conn.opened_at + gap, now)
            conn.until += gap
            heard[conn.fd] = min(heard[conn.fd] + gap, now)
            conn.pinged_at = min(conn.pinged_at + gap, now)
        for fd in partial_since:
            partial_since[fd] = min(partial_since[fd] + gap, now)
        for queue in c.outbox.queues.values():
            queue.moved_at = min(queue.moved_at + gap, now)
            if queue.over_at is not None:
                queue.over_at = min(queue.over_at + gap, now)

    def _sweep(self, now: float) -> None:
        """Judge everything that is over its time at `now`."""
        c = self._connections
        self._judge_greeting(now)
        for conn in list(c.watching.starved):
            with c.guard(conn, now):
                c.resume(conn, now)
        self._judge_frames(now)
        self._judge_queues(now)
        for conn in list(c.ending.values()):
            if now >= conn.until:
                c.drop(conn)
        if now >= self._next_ping_at:
            self._next_ping_at = now + min(_IDLE_S, self._ping_s / 8)
            self._ping(now)

    def _judge_greeting(self, now: float) -> None:
        config, c = self._config, self._connections
        limit_s = config.tls_handshake_timeout_s if config.tls_cert else config.handshake_timeout_s
        for conn in list(c.greeting.values()):  # oldest first
            if now - conn.opened_at < limit_s:
                break
            with c.guard(conn, now):
                c.end(conn, CloseReason.HANDSHAKE_TIMEOUT, f"no HELLO within {limit_s:g} s", now)

    def _judge_frames(self, now: float) -> None:
        c, limit_s = self._connections, self._config.frame_timeout_s
        for fd, since in list(c.descriptors.partial_since.items()):
            conn = c.at(fd)
            if conn is not None and now - since >= limit_s:
                with c.guard(conn, now):
                    c.end(conn, CloseReason.FRAME_TIMEOUT, f"a frame took over {limit_s:g} s", now)

    def _judge_queues(self, now: float) -> None:
        c, limit_s = self._connections, self._config.write_timeout_s
        for key, queue in list(c.outbox.queues.items()):
            conn = c.owner(key)
            if conn is None or not conn.alive:
                continue
            with c.guard(conn, now):
                if now - queue.moved_at >= limit_s:
                    c.end(conn, CloseReason.SLOW, f"took no bytes for {limit_s:g} s", now)
                elif queue.over_at is not None and now - queue.over_at >= limit_s:
                    c.end(conn, CloseReason.SLOW, f"over outbox_soft_bytes for {limit_s:g} s", now)

    def _ping(self, now: float) -> None:
        """PING each member and observer that has been silent for a while; one that leaves two unanswered is gone.

        That is section 3.5. A paused member is not read from and so cannot be heard: it is pinged, so that a broken
        connection shows, but not judged.
        """
        c = self._connections
        heard = c.descriptors.heard
        limit = now - self._ping_s
        here = chain(c.seats.values(), c.observers.values())
        for conn in [conn for conn in here if heard[conn.fd] <= limit and conn.alive]:
            with c.guard(conn, now):
                self._ping_or_end(conn, heard[conn.fd], now)

    def _ping_or_end(self, conn: Connection, heard_at: float, now: float) -> None:
        ping_s, missed = self._ping_s, self._config.pings_missed
        silence = now - heard_at
        if heard_at > conn.pinged_at:
            conn.pings = 0
        if conn.paced:
            if now - conn.pinged_at >= ping_s:
                self._send_ping(conn, now)
        elif conn.pings == missed:
            if silence >= ping_s * (missed + 1) - min(_IDLE_S, ping_s / 4):
                text = f"no sign of life for {silence:.1f} s"
                self._connections.end(conn, CloseReason.SILENT, text, now)
        elif silence >= ping_s * (conn.pings + 1):
            conn.pings += 1
            self._send_ping(conn, now)

    def _send_ping(self, conn: Connection, now: float) -> None:
        conn.pinged_at = now
        self._connections.send(conn, _PING, now)
