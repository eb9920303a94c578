"""The queue of handler and callback calls of a blocking client.

They run one at a time, in threads that wait in the client anyway, and never while its lock is held. An exception of
theirs is logged, and goes no further.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..core.client.events import Promoted
from ..core.client.received import Returned, result_of, status_of
from ..core.client.sent import Progress, RoutedResult
from ..core.wire.codes import Status
from ..errors import ConnectionLost, RankmuxError
from .engine import Engine
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
        on_promoted: Callable[[Promoted], object] | None,
        on_joined: Callable[[int], object] | None,
        on_lost: Callable[[RankmuxError], object] | None,
    ) -> None:
        self._engine = engine
        self._runner = runner
        self._on_promoted = on_promoted
        self._on_joined = on_joined
        self._on_lost = on_lost

    def pending(self) -> bool:
        """Whether a call is due, and this thread is the one to run it; the lock is held."""
        if not self._runner.may_run:
            return False
        inbox = self._engine.inbox
        return bool(
            (self._engine.changes and self._change_due())
            or inbox.refusals
            or inbox.turned_away
            or (inbox.promotions and self._on_promoted is not None)
            or (inbox.commands and self._runner.handler is not None)
        )

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
        while changes and (self._on_joined if isinstance(changes[0], int) else self._on_lost) is None:
            changes.popleft()
        return bool(changes)

    def _next(self) -> Callable[[], object]:
        inbox = self._engine.inbox
        if self._engine.changes and self._change_due():
            return self._change_call(self._engine.changes.popleft())
        if inbox.refusals:
            refusal = inbox.refusals.popleft()
            return lambda: report_refusal(refusal)
        if count := inbox.take_turned_away():
            return lambda: report_turned_away(count)
        if inbox.promotions and self._on_promoted is not None:
            on_promoted, promoted = self._on_promoted, inbox.promotions.popleft()
            return lambda: on_promoted(promoted)
        return self._command_call()

    def _change_call(self, change: int | RankmuxError) -> Callable[[], object]:
        on_joined, on_lost = self._on_joined, self._on_lost
        if isinstance(change, int):
            assert on_joined is not None
            return lambda: on_joined(change)
        assert on_lost is not None
        return lambda: on_lost(change)

    def _command_call(self) -> Callable[[], object]:
        engine, inbox = self._engine, self._engine.inbox
        taken, handler, link = inbox.take_command(), self._runner.handler, engine.link
        assert taken is not None
        assert handler is not None
        assert link is not None

        def send_result(seq: int, status: Status, payload: bytes) -> None:
            engine.answer(link, lambda: link.session.send_result(seq, status, payload))

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
