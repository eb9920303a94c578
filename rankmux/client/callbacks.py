"""The queue of handler and callback calls of a blocking client.

They run one at a time, in threads that wait in the client anyway, and never while its lock is held. An exception of
theirs is logged, and goes no further.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..core.client.received import Returned, result_of, status_of
from ..core.client.sent import Progress, RoutedResult
from ..core.wire.codes import Status
from ..errors import ConnectionLost
from .engine import Engine
from .events import Callbacks
from .receipt import ReceivedCommand
from .reports import (
    report_callback_failure,
    report_expired,
    report_failure,
    report_lateness,
    report_refusal,
    report_turned_away,
    report_unsent,
)
from .runner import Runner

__all__ = ["CallQueue", "Handler"]

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

    def wait(self, done: Callable[[], bool], timeout_s: float | None) -> bool:
        """Read, answer PINGs, and run calls until `done()`; False when `timeout_s` passed first.

        `done` is called with the lock held.
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
                in_time = self._engine.run_until(satisfied, remaining_s)
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
            refusal = inbox.refusals.popleft()
            return lambda: report_refusal(refusal)
        if count := inbox.take_turned_away():
            return lambda: report_turned_away(count)
        if inbox.promotions and on_promoted is not None:
            promoted = inbox.promotions.popleft()
            return lambda: on_promoted(promoted)
        return self._command_call()

    def _command_call(self) -> Callable[[], object]:
        engine, inbox = self._engine, self._engine.inbox
        taken, handler, link = inbox.take_command(), self._runner.handler, engine.link
        assert taken is not None
        assert handler is not None
        assert link is not None

        def send_result(seq: int, status: Status, payload: bytes) -> None:
            engine.answer(link, seq, status, payload)

        command = ReceivedCommand(*taken, link.session.max_payload or 0, send_result, engine.look, self.wait)
        inbox.running[command.seq] = command

        def run() -> None:
            try:
                _run(handler, command)
            finally:
                inbox.running.pop(command.seq, None)

        return run


def _guarded(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - the callbacks are the user's
        report_callback_failure(error)


def _run(handler: Handler, command: ReceivedCommand) -> None:
    if command.seconds_left() == 0.0:
        report_expired(command.event)
        return
    began_s = time.monotonic()
    try:
        status, payload = Status.OK, result_of(handler(command))
    except Exception as error:  # noqa: BLE001 - any exception of a handler is its command's result
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
