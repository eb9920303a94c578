"""Which handler or callback of a blocking client runs next, and in which thread.

They run one at a time, in threads that wait in the client anyway, and never while its lock is held: in `serve` when it
runs, else in whichever thread waits. What they raise is logged, and goes no further.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..core.client.events import Promoted
from ..core.client.inbox import Inbox
from ..core.client.received import (
    Returned,
    report_expired,
    report_failure,
    report_lateness,
    report_refusal,
    report_turned_away,
    report_unsent,
    result_of,
    status_of,
)
from ..core.client.session import State
from ..core.wire.codes import Status
from ..errors import ConnectionLost, RankmuxError, StateError
from .engine import Engine
from .link import Link
from .receipt import ReceivedCommand

__all__ = ["Calls", "Handler"]

log = logging.getLogger("rankmux.client")

Handler = Callable[[ReceivedCommand], Returned]
"""Runs a command. Its return value is the RESULT, OK; an exception makes it FAILED, `Rejected` REJECTED."""


class Calls:
    """What is to be called for what has come. `drain(link)` waits until enough has been sent."""

    def __init__(
        self,
        engine: Engine,
        drain: Callable[[Link], None],
        handler: Handler | None,
        on_promoted: Callable[[Promoted], object] | None,
        on_joined: Callable[[int], object] | None,
        on_lost: Callable[[RankmuxError], object] | None,
    ) -> None:
        self._engine = engine
        self._drain = drain
        self._handler = handler
        self._on_promoted = on_promoted
        self._on_joined = on_joined
        self._on_lost = on_lost
        self._changes: deque[Callable[[], object]] = deque()
        self._caller: int | None = None  # the thread that runs one now
        self._server: int | None = None  # the thread that is in `serve`, and runs them all
        self._nested = 0  # how deep the caller waits in this client itself
        self._turned_away: tuple[Inbox, int] = engine.inbox, 0  # how many of them have been reported
        engine.on_change = self._changed
        engine.can_wait = self._goes_on

    def pending(self) -> bool:
        """Whether there is something to call, and this thread is the one to do it; the lock is held."""
        if self._caller is not None or self._server not in (None, threading.get_ident()):
            return False
        inbox = self._engine.inbox
        return bool(
            self._changes
            or inbox.refusals
            or self._unreported()
            or (inbox.promotions and self._on_promoted is not None)
            or (inbox.commands and self._handler is not None)
        )

    def run(self) -> None:
        """Call what is pending, without the lock."""
        while True:
            with self._engine.condition:
                if not self.pending():
                    return
                call = self._next()
                self._caller = threading.get_ident()
            try:
                call()
            except Exception:
                log.exception("a callback failed")
            finally:
                with self._engine.condition:
                    self._caller = None
                    self._engine.taken()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """This thread waits for something: if it is in a handler or a callback, nothing else runs meanwhile."""
        nested = self._caller == threading.get_ident()
        self._nested += nested
        try:
            yield
        finally:
            self._nested -= nested

    @contextmanager
    def served(self, handler: Handler | None) -> Iterator[None]:
        """This thread runs everything meanwhile, with `handler` if there is one. Raises StateError if it cannot."""
        me = threading.get_ident()
        with self._engine.condition:
            if self._server is not None:
                raise StateError("serving", "another call of serve runs")
            if self._caller == me:
                raise StateError("serving", "a handler runs in this thread")
            self._server = me
            before, self._handler = self._handler, handler or self._handler
        try:
            yield
        finally:
            with self._engine.condition:
                self._server, self._handler = None, before
                self._engine.condition.notify_all()

    def _goes_on(self) -> bool:
        """Whether a thread runs commands, or is about to; the lock is held."""
        return not self._nested and self._handler is not None and (self._caller or self._server) is not None

    def _unreported(self) -> int:
        inbox, reported = self._turned_away
        return self._engine.inbox.turned_away - (reported if inbox is self._engine.inbox else 0)

    def _changed(self, error: RankmuxError | None) -> None:
        link = self._engine.link
        if error is not None and self._on_lost is not None and not self._engine.closed:
            on_lost = self._on_lost
            self._changes.append(lambda: on_lost(error))
        if (
            error is None
            and self._on_joined is not None
            and link is not None
            and link.session.rank is not None
        ):
            on_joined, rank = self._on_joined, link.session.rank
            self._changes.append(lambda: on_joined(rank))

    def _next(self) -> Callable[[], object]:
        inbox = self._engine.inbox
        if self._changes:
            return self._changes.popleft()
        if inbox.refusals:
            refusal = inbox.refusals.popleft()
            return lambda: report_refusal(refusal)
        if count := self._unreported():
            self._turned_away = inbox, inbox.turned_away
            return lambda: report_turned_away(count)
        if inbox.promotions and self._on_promoted is not None:
            on_promoted, promoted = self._on_promoted, inbox.promotions.popleft()
            return lambda: on_promoted(promoted)
        taken, handler, link = inbox.take_command(), self._handler, self._engine.link
        assert taken is not None
        assert handler is not None
        assert link is not None

        def send_result(seq: int, status: Status, payload: bytes) -> None:
            with self._engine.condition:
                if link.session.state is not State.JOINED:
                    raise ConnectionLost("it went before the result was sent")
                link.session.send_result(seq, status, payload)
                self._engine.push(link)
            self._drain(link)

        command = ReceivedCommand(*taken, link.session.max_payload or 0, send_result)
        return lambda: _run(handler, command)


def _run(handler: Handler, command: ReceivedCommand) -> None:
    if command.seconds_left() == 0.0:
        report_expired(command.event)
        return
    began_s = time.monotonic()
    try:
        status, payload = Status.OK, result_of(handler(command))
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is its command's result
        status, payload = status_of(error)
        report_failure(command.event, error, time.monotonic() - began_s)
    else:
        if command.seconds_left() == 0.0 and not command.finished:
            report_lateness(command.event, time.monotonic() - began_s)
    if not command.finished:
        try:
            command.finish(status, payload)
        except (ConnectionLost, TimeoutError) as error:
            report_unsent(command.event, error)
