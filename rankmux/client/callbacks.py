"""The queue of handler and callback calls of a blocking client.

They run one at a time, in threads that wait in the client anyway, and never while its lock is held. An exception of
theirs is logged, and goes no further.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from ..core.client.inbox import Inbox
from ..core.client.received import Returned, result_of, status_of
from ..core.client.results import RoutedResult
from ..core.client.sent import Progress
from ..core.wire.codes import Status
from ..errors import ConnectionLost
from .engine import Engine
from .events import Callbacks
from .link import StreamLink
from .receipt import ReceivedCommand
from .reports import (
    report_callback_failure,
    report_expired,
    report_failure,
    report_lateness,
    report_refusals,
    report_turned_away,
    report_unsent,
)
from .runner import Runner

__all__ = ["CallQueue", "Handler"]

_READ_INTERVAL_S = 0.05
_TAKEN_TOLD = 64  # commands, before other threads are told that they have been taken

Handler = Callable[[ReceivedCommand], Returned]
"""Runs a command. Its return value is the RESULT, OK; an exception makes it FAILED, `Rejected` REJECTED."""


class CallQueue:
    """The calls that are due, and waiting while they run. `runner` decides which thread runs them."""

    def __init__(
        self,
        engine: Engine,
        runner: Runner[Handler],
        callbacks: Callbacks,
    ) -> None:
        self._engine = engine
        self._runner = runner
        self._callbacks = callbacks
        self._draining = False  # no command is begun

    def pending(self) -> bool:
        """Whether a call is due, and this thread is the one to run it; the lock is held."""
        if not self._runner.may_run:
            return False
        inbox = self._engine.inbox
        return bool(
            (self._engine.changes and self._change_due())
            or inbox.refusals
            or inbox.turned_away
            or (inbox.promotions and self._callbacks.on_promoted is not None)
            or (inbox.commands and self._runner.handler is not None and self._begins_commands())
        )

    def _may_be_pending(self) -> bool:
        """`pending`, as far as that shows without the lock; True where it does not."""
        inbox = self._engine.inbox
        return bool(
            inbox.commands or self._engine.changes or inbox.refusals or inbox.promotions or inbox.turned_away
        )

    def _begins_commands(self) -> bool:
        return self._engine.link is not None and not self._draining

    def run(self) -> None:
        """Run the calls that are due, without the lock."""
        while True:
            token = object()
            try:
                call = self._engine.exclusively(lambda: self._begin(token))  # noqa: B023 - it is called here
                if call is None:
                    return
                _guarded(call)
            finally:
                self._runner.end(token)
                self._engine.taken()
            if not self._may_be_pending():
                return

    def wait(self, done: Callable[[], bool], timeout_s: float | None, whole: int | None = None) -> bool:
        """Read, answer PINGs, and run calls until `done()`; False when `timeout_s` passed first.

        `done` is called with the lock held. `whole` is a command whose results are wanted only once they are complete.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        reached = False

        def satisfied() -> bool:
            nonlocal reached
            reached = done()
            return reached or self.pending()

        while True:
            remaining_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            token = object()
            try:
                self._runner.enter_wait(token)
                in_time = self._engine.run_until(satisfied, remaining_s, whole=whole)
            finally:
                self._runner.leave_wait(token)
            if reached:
                return True
            if not in_time or remaining_s == 0.0:
                return False
            self.run()

    def take(self, progress: Progress) -> RoutedResult | None:
        """The oldest unread result of a command; None if there is none."""
        result = self._engine.exclusively(progress.take)
        self._engine.taken()
        return result

    def take_all(self, progress: Progress) -> list[RoutedResult]:
        """All unread results of a command, the oldest first."""
        results = self._engine.exclusively(progress.take_all)
        self._engine.taken()
        return results

    def cancel(self, progress: Progress) -> None:
        """End a command early; nothing if it has ended."""
        self._engine.cancel(progress)

    def step_back(self, drain_s: float, timeout_s: float) -> Progress:
        """Begin no command, wait up to `drain_s` for those that run, then give up the rank; the answer."""
        try:
            self._draining = True
            if drain_s > 0:
                self.wait(lambda: self._runner.idle, drain_s)
            _, progress = self._engine.send(lambda inbox: inbox.send_yield())
            self.wait(lambda: progress.dispatched, timeout_s)
            return progress
        finally:
            self._draining = False
            self._engine.taken()

    def serve(self, handler: Handler | None) -> None:
        """Run every call in this thread, with `handler` if there is one, until closed. Raises StateError."""
        token = object()
        try:
            self._engine.exclusively(lambda: self._runner.begin_serving(token, handler))
            self.wait(lambda: self._engine.closed, None)
        finally:
            self._runner.end_serving(token)
            self._engine.taken()

    def _begin(self, token: object) -> Callable[[], object] | None:
        if not self.pending():
            return None
        call = self._next()
        self._runner.begin(token)
        return call

    def _change_due(self) -> bool:
        changes = self._engine.changes
        while changes and self._callbacks.call_for(changes[0]) is None:
            changes.popleft()
        return bool(changes)

    def _next(self) -> Callable[[], object]:
        inbox, on_promoted = self._engine.inbox, self._callbacks.on_promoted
        if self._engine.changes and self._change_due():
            call = self._callbacks.call_for(self._engine.changes.popleft())
            assert call is not None
            return call
        if inbox.refusals:
            refusals = tuple(inbox.refusals)
            inbox.refusals.clear()
            return lambda: report_refusals(refusals)
        if count := inbox.take_turned_away():
            return lambda: report_turned_away(count)
        if inbox.promotions and on_promoted is not None:
            promoted = inbox.promotions.popleft()
            return lambda: on_promoted(promoted)
        return self._command_call()

    def _command_call(self) -> Callable[[], object]:
        inbox, handler, link = self._engine.inbox, self._runner.handler, self._engine.link
        taken = inbox.take_command()
        if taken is None:
            return lambda: None  # all that waited were cancelled
        assert handler is not None
        assert link is not None
        driver = _Driver(self._engine, link, self.wait)
        command = ReceivedCommand(*taken, driver.max_payload, driver)
        inbox.running[command.seq] = command

        def run() -> None:
            try:
                _run(handler, command)
            finally:
                inbox.running.pop(command.seq, None)
            self._run_quiet(handler, inbox, driver)

        return run

    def _run_quiet(self, handler: Handler, inbox: Inbox, driver: _Driver) -> None:
        """Run the commands in front that want no result, without the lock: nobody can cancel them.

        It ends when another call is due. The client reads meanwhile, so that PINGs are answered.
        """
        engine, waiting, count = self._engine, inbox.commands, 0
        if not waiting:
            return
        read_at_s = time.monotonic() + _READ_INTERVAL_S
        with suppress(IndexError):  # another thread has dropped them: the seat is gone
            while not waiting[0][0].wants_result and not self._others_due(handler, driver.link):
                taken = inbox.take_command()
                if taken is None:
                    return
                _run(handler, ReceivedCommand(*taken, driver.max_payload, driver))
                count += 1
                if count % _TAKEN_TOLD == 0:
                    engine.taken()
                if time.monotonic() >= read_at_s:
                    engine.look()
                    read_at_s = time.monotonic() + _READ_INTERVAL_S

    def _others_due(self, handler: Handler, link: StreamLink) -> bool:
        """Whether something else comes before the next command."""
        engine, inbox = self._engine, self._engine.inbox
        return bool(
            engine.link is not link
            or engine.changes
            or engine.closed
            or inbox.refusals
            or inbox.turned_away
            or (inbox.promotions and self._callbacks.on_promoted is not None)
            or self._draining
            or self._runner.handler is not handler
        )


class _Driver:
    """What the commands of one connection need of the client."""

    def __init__(
        self, engine: Engine, link: StreamLink, wait: Callable[[Callable[[], bool], float | None], bool]
    ) -> None:
        self.link = link
        self.max_payload = link.session.max_payload or 0
        self.look = engine.look
        self.wait = wait
        self._engine = engine

    def answer(self, seq: int, status: Status, payload: bytes) -> None:
        """Send a result, by this connection or a later one of the same seat. Raises ConnectionLost."""
        self._engine.answer(self.link, seq, status, payload)


def _guarded(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - the callbacks are the user's
        report_callback_failure(error)


def _run(handler: Handler, command: ReceivedCommand) -> None:
    if command.seconds_left() == 0.0:
        report_expired(command._event)
        return
    began_s = time.monotonic()
    try:
        returned = handler(command)
        status, payload = Status.OK, b"" if returned is None else result_of(returned)
    except Exception as error:  # noqa: BLE001 - any exception of a handler is its command's result
        status, payload = status_of(error)
        report_failure(command._event, error, time.monotonic() - began_s)
    else:
        if command.seconds_left() == 0.0 and not command.finished:
            report_lateness(command._event, time.monotonic() - began_s)
    if command.wants_result and not command.finished:
        try:
            command.finish(status, payload)
        except (ConnectionLost, TimeoutError) as error:
            report_unsent(command._event, error)
