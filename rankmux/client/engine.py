"""The engine of the blocking client: one connection at a time, run by the threads that wait for something.

It starts no thread. Of the threads that wait, one, the runner, reads and writes for all, and the others wait for it;
when that one has what it waited for, the next takes over. The lock is held only while something changes, never while a
thread sleeps or connects. It knows sessions and sockets, and nothing of commands, handlers or results.

A signal handler may run between any two steps. If it calls `close` above a call of this client, it sets a flag and
wakes; that call does the rest. If it raises while something changes, the connection is reset before it is used again,
so that nothing is sent twice and no frame is torn.
"""

from __future__ import annotations

import math
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from ..core.client.inbox import Inbox
from ..core.client.sent import Progress
from ..core.client.session import ClientState
from ..core.wire.codes import Status
from ..errors import ConnectionLost, RankmuxError
from .connect import Canceller, drain, joined_link
from .connection import KeptConnection
from .failures import nothing_read, too_many_results
from .limits import GOODBYE_S, LULL_FROM_BYTES, LULL_MAX_BYTES, LULL_S, SLEEP_MAX_S, UNSENT_MAX_BYTES
from .link import StreamLink

__all__ = ["Engine"]

_T = TypeVar("_T")


class Engine(KeptConnection):
    """Keeps a client connected. No method may be called with the lock held."""

    def connect(self) -> None:
        """Connect for the first time. Raises ConnectionLost, ServerError or ProtocolViolation."""
        try:
            with self._entry:
                link, inbox = joined_link(self._options, self._clock)
                with self._lock, self._guard:
                    self._use(link, inbox)
        except BaseException:
            self.close()
            raise
        self._settle()

    def exclusively(self, step: Callable[[], _T]) -> _T:
        """The value of `step()`, which changes something, and waits for nothing."""
        try:
            with self._entry, self._lock:
                self._mend()
                with self._guard:
                    return step()
        finally:
            self._settle()

    def send(self, step: Callable[[Inbox], _T]) -> tuple[StreamLink, _T]:
        """Have `step(inbox)` make output, and send it as far as that is possible without waiting; its link and value.

        The connection is restored first if need be. Raises the reason where there is none.
        """
        try:
            in_time = True
            while True:
                with self._entry, self._lock:
                    self._mend()
                    link = self.link
                    if link is not None and not link.ended and not self.closed:
                        with self._guard:
                            value = step(self.inbox)
                            self._push(link)
                        return link, value
                    if self.closed or not in_time:
                        raise self._reason()
                in_time = self._run(lambda: self.closed or self._usable, self._options.timeout_s)
        finally:
            self._settle()

    def answer(self, link: StreamLink, seq: int, status: Status, payload: bytes) -> None:
        """Send a result of a command that came by `link`, an earlier connection perhaps.

        While a kept seat is absent, a final one waits for the return. Raises ConnectionLost.
        """
        try:
            with self._entry, self._lock:
                self._mend()
                now = self._way_back(link)
                if now is None:
                    self._hold_back(link, seq, status, payload)
                    return
                with self._guard:
                    now.session.send_result(seq, status, payload)
                    self._push(now)
        finally:
            self._settle()
        self.drain(now)

    def _way_back(self, link: StreamLink) -> StreamLink | None:
        """The connection for results of commands that came by `link`: itself, or a later one of the same seat."""
        now = self.link
        if now is None or now.session.state is not ClientState.JOINED:
            return None
        return now if now is link or self._same_seat(link) else None

    def _same_seat(self, link: StreamLink) -> bool:
        kept = self._options.kept
        return kept is not None and kept.keep_s > 0 and kept.generation == link.session.generation

    def _hold_back(self, link: StreamLink, seq: int, status: Status, payload: bytes) -> None:
        kept = self._options.kept
        if kept is None or status is Status.PART or self.closed or not self._same_seat(link):
            raise ConnectionLost("it ended before the result was sent")
        kept.keep_result(seq, status, payload)

    def cancel(self, progress: Progress) -> None:
        """End a command early for those of its executors that have not ended; nothing where there are none."""
        try:
            with self._entry, self._lock:
                self._mend()
                link = self.link
                if progress.over or link is None or link.session.state is not ClientState.JOINED:
                    return
                with self._guard:
                    link.session.send_cancel(progress.id)
                    self._push(link)
        finally:
            self._settle()

    def look(self) -> None:
        """Take what has come, without waiting, at most every 2 ms; if another thread runs the connection, it does."""
        try:
            with self._entry, self._lock:
                self._mend()
                if self.link is not None and not self.link.ended:
                    with self._guard:
                        self._push(self.link)
        finally:
            self._settle()

    def drain(self, link: StreamLink) -> None:
        """Wait until the server has read enough of the output of `link`. Raises TimeoutError."""

        def drained() -> bool:
            return link.ended or link.session.output_size < UNSENT_MAX_BYTES

        if not drained() and not self.run_until(drained, self._options.timeout_s, patient=True):
            raise nothing_read(self._options.timeout_s)

    def run_until(
        self,
        done: Callable[[], bool],
        timeout_s: float | None = None,
        *,
        patient: bool = False,
        whole: int | None = None,
    ) -> bool:
        """Run the connection until `done()`, called with the lock held; False when `timeout_s` passed first.

        `whole` is a command whose results are wanted only once they are complete: they are read in large pieces.

        Raises the reason when the connection is gone for good; StateError when too many results are unread to receive
        anything, unless `patient`: then it waits until other threads have read them.
        """
        try:
            return self._run(done, timeout_s, patient, whole)
        finally:
            self._settle()

    def _run(
        self,
        done: Callable[[], bool],
        timeout_s: float | None = None,
        patient: bool = False,
        whole: int | None = None,
    ) -> bool:
        deadline_s = None if timeout_s is None else self._clock() + timeout_s
        tried = False
        with self._entry:
            try:
                while True:
                    remaining_s = None if deadline_s is None else deadline_s - self._clock()
                    step = self._plan(done, remaining_s, tried, patient, whole)
                    if isinstance(step, bool):
                        return step
                    tried = True
                    step()
            finally:
                if self._runner == threading.get_ident():  # an exception came
                    self._runner, self._unread, self._lulled = None, False, False
                    self._bell.ring()

    def _plan(
        self,
        done: Callable[[], bool],
        remaining_s: float | None,
        tried: bool,
        patient: bool,
        whole: int | None,
    ) -> bool | Callable[[], None]:
        """Whether `done()`, or no time remains; else the step that waits for it, to be run without the lock."""
        with self._lock:
            self._mend()
            if self._followers:
                self._followers.discard(threading.get_ident())
            if done():
                return True
            if remaining_s is not None:
                if remaining_s <= 0 and tried and (self._runner is not None or not self._lost_for_good):
                    return False
                remaining_s = max(0.0, remaining_s)
            link = self.link
            if link is not None and self.inbox.results_suffice and not self.closed and not patient:
                raise too_many_results()
            if self._runner is not None:
                self._followers.add(threading.get_ident())
                ticket = self._bell.join()
                if self._lulled or (self._unread and not self._paused()):
                    self._wake()
                # The runner may have gone just before, without the lock, as after an exception.
                return partial(self._bell.wait, ticket, 0.0 if self._runner is None else remaining_s)
            if link is None:
                return self._plan_restoring(remaining_s)
            with self._guard:
                return self._plan_turn(link, remaining_s, whole)

    def _plan_sleep(self, one_s: float | None, other_s: float | None) -> Callable[[], None]:
        """Sleep until something changes."""
        ticket = self._bell.join()
        return partial(self._bell.wait, ticket, 0.0 if self.closed else _least(one_s, other_s))

    def _plan_restoring(self, timeout_s: float | None) -> Callable[[], None]:
        if self._lost_for_good:
            raise self._reason()
        delay_s = self._retry_at_s - self._clock()
        if delay_s > 0:
            return self._plan_sleep(delay_s, timeout_s)
        self._runner = threading.get_ident()
        return self._restore

    def _restore(self) -> None:
        opened = self._joined()
        with self._lock:
            self._runner = None
            self._mend()
            if isinstance(opened, RankmuxError):
                self._failure = opened
                self._take_seat_events()
                self._plan_retry()
            elif self.closed:
                opened[0].close()
            else:
                with self._guard:
                    self._use(*opened)
            self._bell.ring()

    def _joined(self) -> tuple[StreamLink, Inbox] | RankmuxError:
        try:
            # A seat that is kept is given up at its deadline, by those that wait for it too.
            deadline_s = None if self._options.kept is None else self._options.kept.deadline_s
            until_s = deadline_s if deadline_s is not None and deadline_s > self._clock() else None
            woken = Canceller(self._woken, lambda: self.closed)
            return joined_link(self._options, self._clock, woken, until_s)
        except RankmuxError as error:
            return error

    def _plan_turn(self, link: StreamLink, timeout_s: float | None, whole: int | None) -> Callable[[], None]:
        reading = not self._paused()
        if not reading:
            # Nothing is received until other threads have taken enough; but writing shows the server a sign of life.
            link.run_paused()
            if link.ended:
                self._absorb(link)
                return lambda: None
            # Commands are taken without the lock: from here on that rings and wakes, and what was taken before is seen.
            ticket, self._unread = self._bell.join(), True
            reading = not self._paused()
            if not (reading or link.wants_write):
                return partial(self._bell.wait, ticket, _least(timeout_s, link.patience_s()))
        at_once = link.ended or (reading and link.wants_read_now)
        wait_s = 0.0 if at_once else _least(timeout_s, link.patience_s())
        interest = (select.POLLIN * reading) | (select.POLLOUT * link.wants_write)
        lull_size = self._lull_size(link, whole) if reading and whole is not None else 0
        self._runner, self._unread, self._lulled = threading.get_ident(), not reading, lull_size > 0
        return partial(self._turn, link, {link.fileno(): interest}, reading, wait_s, lull_size)

    def _lull_size(self, link: StreamLink, whole: int) -> int:
        """The bytes without which the results of the command `whole` cannot be complete; 0: look at each at once.

        It is 0 as well when nothing has come in the last lull, so that a slow command costs no wake-up each 5 ms.
        """
        before, self._owed_size = self._owed_size, link.session.owed_size(whole)
        lulls = LULL_FROM_BYTES <= self._owed_size != before and not self._followers
        return min(self._owed_size, LULL_MAX_BYTES) if lulls else 0

    def _turn(
        self,
        link: StreamLink,
        interest: dict[int, int],
        reading: bool,
        wait_s: float | None,
        lull_size: int,
    ) -> None:
        limit_s = LULL_S if lull_size else SLEEP_MAX_S
        # Not a selector of epoll: what little there is to watch is cheaper to name than to look up.
        # Another thread that is interrupted may close the link meanwhile; it wakes this one then.
        poll, woken = select.poll(), self._woken.fileno()
        poll.register(woken, select.POLLIN)
        for fd, events in interest.items():
            poll.register(fd, events)
        try:
            link.stream.wake_at(lull_size or 1)
            ready = dict(poll.poll(math.ceil(1000 * (limit_s if wait_s is None else min(wait_s, limit_s)))))
        finally:
            link.stream.wake_at(1)
        with self._lock:
            self._runner, self._unread, self._lulled = None, False, False
            self._mend()
            if link is self.link:
                with self._guard:
                    if ready.pop(woken, 0):
                        drain(self._woken)
                    readable = any(mask & ~select.POLLOUT for mask in ready.values())
                    self._exchange(link, reading, readable, lull_size > 0)
            self._bell.ring()

    def _exchange(self, link: StreamLink, reading: bool, readable: bool, lulled: bool) -> None:
        if not reading:
            link.run_paused()
        elif lulled:
            link.run_once()
        else:
            link.run(readable or link.wants_read_now)
        self._absorb(link)

    def taken(self) -> None:
        """Commands or results have been taken: waiting threads look again whether more may be received."""
        self._bell.ring()
        if self._unread and not self._paused():
            self._wake()  # the thread that runs it sleeps until it can write

    def close(self, leave: bool = True) -> None:
        """Leave, wait up to a second for the server's end, close. From any thread; a second call does nothing.

        Without `leave` the connection only ends, so that a kept seat is absent from then on.

        Above a call of this client, as in a signal handler, it only has that call do so; after a fork it only closes
        the descriptors, as the connection belongs to the parent.
        """
        self._leaves = self._leaves and leave
        self.closed = True
        if os.getpid() != self._pid:
            self._disown()
            return
        self._bell.ring()
        self._wake()
        if not self._presence.lock.locked():
            self._settle()

    def _settle(self) -> None:
        """Do what `close` has left to this call, which it found in here."""
        if self.closed and not self._over:
            self._leave()
            with suppress(RankmuxError):
                self._run(lambda: self.link is None, self._goodbye_left_s())
            self._wake()
            self._run(lambda: self._runner is None, self._goodbye_left_s())
            self._end()

    def _goodbye_left_s(self) -> float:
        if self._goodbye_until_s is None:
            self._goodbye_until_s = self._clock() + GOODBYE_S
        return max(0.0, self._goodbye_until_s - self._clock())


def _least(one_s: float | None, other_s: float | None) -> float | None:
    if one_s is None or other_s is None:
        return other_s if one_s is None else one_s
    return min(one_s, other_s)
