"""What is judged by the clock: HELLO in time, frames in time, bytes taken in time, signs of life. No system calls.

One sweep looks at all of it, some ten times a second while something short is under way, else at most once a second,
and only when all that had arrived has been read: who was stopped with us has not been silent.
"""

from __future__ import annotations

from ...config import Config
from ...core.wire.frames import Ping
from .connection import CloseReason, Peer
from .registry import Connections

__all__ = ["Liveness"]

_BUSY_S = 0.1
_IDLE_S = 1.0
_GAP_S = 1.0  # a sweep that comes so much later than planned: we were stopped, and judge nobody for that time
_READ_FIRST_TURNS = 16  # so long all that has arrived is read first, but not for ever


class Liveness:
    """Judges `connections` by the limits of `config`; times are seconds of one monotonic clock.

    The next sweep is planned for `next_at`.
    """

    def __init__(self, config: Config, connections: Connections, now: float) -> None:
        self._config = config
        self._connections = connections
        self._ping_s = config.ping_ms / 1000
        self._next_ping_at = 0.0
        self._unread_turns = 0
        self.next_at = now + self._interval()

    def turn(self, now: float, unread: bool) -> float | None:
        """Judge, if it is time and nothing of what had arrived is `unread`; by how much that was late, or None."""
        self._unread_turns = self._unread_turns + 1 if unread else 0
        if now < self.next_at or not self.may_judge(unread):
            self.next_at = min(self.next_at, now + self._interval())
            return None
        late = now - self.next_at
        if late < _GAP_S:
            self._sweep(now)
        else:
            self._forgive(late, now)
        self.next_at = now + self._interval()
        return late

    def may_judge(self, unread: bool) -> bool:
        """Whether all has been read that had arrived, or that has been waited for long enough."""
        return not unread or self._unread_turns >= _READ_FIRST_TURNS

    def _interval(self) -> float:
        """How long the next sweep may wait."""
        c = self._connections
        if c.greeting or c.ending or c.interest.partial or c.outbox.queues:
            return _BUSY_S
        return min(_IDLE_S, self._ping_s / 8)

    def _forgive(self, gap: float, now: float) -> None:
        """We were stopped for `gap` seconds until `now`: nobody is judged for that time."""

        def later(moment: float) -> float:
            return min(moment + gap, now)  # what has happened since then needs none of it

        c = self._connections
        for peer in c:
            peer.opened_at = later(peer.opened_at)
            peer.until += gap
            c.links.heard[peer.fd] = later(c.links.heard[peer.fd])
            peer.pinged_at = later(peer.pinged_at)
        for fd in c.interest.partial:
            c.interest.partial[fd] = later(c.interest.partial[fd])
        for queue in c.outbox.queues.values():
            queue.moved_at = later(queue.moved_at)
            if queue.over_at is not None:
                queue.over_at = later(queue.over_at)

    def _sweep(self, now: float) -> None:
        """Judge all that is over its time at `now`."""
        c, config = self._connections, self._config
        limit_s = config.tls_handshake_timeout_s if config.tls_cert else config.handshake_timeout_s
        for peer in list(c.greeting.values()):  # oldest first
            if now - peer.opened_at < limit_s:
                break
            c.end(peer, CloseReason.HANDSHAKE_TIMEOUT, f"no HELLO within {limit_s:g} s", now)
        for fd in list(c.interest.starved):
            c.writing.resume(c.at(fd), now)
        for fd, since in list(c.interest.partial.items()):
            if now - since >= config.frame_timeout_s:
                c.end(
                    c.at(fd),
                    CloseReason.FRAME_TIMEOUT,
                    f"a frame took over {config.frame_timeout_s:g} s",
                    now,
                )
        for fd, queue in list(c.outbox.queues.items()):
            peer = c.at(fd)
            if peer.reason is not None:
                continue
            if now - queue.moved_at >= config.write_timeout_s:
                c.end(peer, CloseReason.SLOW, f"took no bytes for {config.write_timeout_s:g} s", now)
            elif queue.over_at is not None and now - queue.over_at >= config.write_timeout_s:
                c.end(peer, CloseReason.SLOW, f"over outbox_soft_bytes for {config.write_timeout_s:g} s", now)
        for peer in list(c.ending.values()):
            if now >= peer.until:
                c.drop(peer)
        if now >= self._next_ping_at:
            self._next_ping_at = now + min(_IDLE_S, self._ping_s / 8)
            self._ping(now)

    def _ping(self, now: float) -> None:
        """PING whoever has been silent for a while; who leaves two unanswered is gone (PROTOCOL section 3.5).

        Who is not read from can't be heard: it is pinged too, so that a broken connection shows, but not judged.
        """
        c, ping_s, missed = self._connections, self._ping_s, self._config.pings_missed
        heard, tickets = c.links.heard, c.links.tickets
        limit = now - ping_s
        for peer in [p for p in c.peers if p is not None and heard[p.fd] <= limit and tickets[p.fd]]:
            if peer.reason is not None:
                continue
            silence = now - heard[peer.fd]
            if heard[peer.fd] > peer.pinged_at:
                peer.pings = 0
            if peer.held:
                if now - peer.pinged_at >= ping_s:
                    self._send_ping(peer, now)
            elif peer.pings == missed:
                if silence >= ping_s * (missed + 1) - min(_IDLE_S, ping_s / 4):
                    c.end(peer, CloseReason.SILENT, f"no sign of life for {silence:.1f} s", now)
            elif silence >= ping_s * (peer.pings + 1):
                peer.pings += 1
                self._send_ping(peer, now)

    def _send_ping(self, peer: Peer, now: float) -> None:
        peer.pinged_at = now
        self._connections.writing.write(peer, Ping(b"").encode(), now)
