"""One command that `work` runs: its program from the start to the RESULT, and its deadline.

What the program writes goes out as partial results, read no faster than the server takes them; what is over the bound
is dropped, and the end says so. It knows no queue and no other command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from signal import Signals

from ...core.client.events import ExecuteReceived
from ...core.client.received import pieces
from ...core.client.session import ClientSession
from ...core.wire.codes import Status
from ...errors import LocalError
from ...system.reactor import Timer
from ..seat.loop import Loop
from .children import Child, Children

__all__ = ["ProgramRun"]


class ProgramRun:
    """A command under way. `session` is the one it came by: its answer goes there or nowhere.

    `on_end(words)` is called once, with how it ended. Raises OSError when the program cannot be started.
    """

    def __init__(
        self,
        loop: Loop,
        children: Children,
        program: Sequence[str],
        environment: Mapping[str, str],
        event: ExecuteReceived,
        session: ClientSession,
        left_s: float | None,
        *,
        output_max: int,
        with_errors: bool,
        on_end: Callable[[str], None],
    ) -> None:
        self._event = event
        self._session = session
        self._output_left = output_max
        self._cut = False
        self._late = False
        self._on_end = on_end
        self._deadline: Timer | None = None
        self.child: Child = children.start(
            program,
            environment,
            payload=event.payload,
            on_output=self._output,
            with_errors=with_errors,
            on_end=self._ended,
        )
        if left_s is not None:
            self._deadline = loop.after(left_s, self._overdue)

    def _overdue(self) -> None:
        self._late = True
        self.child.stop()

    def _output(self, data: bytes) -> None:
        if len(data) > self._output_left:
            data, self._cut = data[: self._output_left], True
        self._output_left -= len(data)
        if self._event.wants_result and data and self._session.max_payload is not None:
            for piece, _ in pieces(data, self._session.max_payload):
                self._send(Status.PART, piece)

    def _send(self, status: Status, payload: bytes) -> None:
        if self._event.wants_result:
            try:
                self._session.send_result(self._event.seq, status, payload)
            except LocalError:
                self._output_left = 0  # that connection has gone; nobody can be told any more

    def _ended(self, returncode: int) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        words = _words(returncode, self._late)
        note = "the output was too long and has been cut" if self._cut else ""
        if returncode == 0 and not self._late:
            self._send(Status.OK, f"[{note}]\n".encode() if note else b"")
        else:
            self._send(Status.FAILED, "; ".join(filter(None, (words, note))).encode())
        self._on_end(words)


def _words(returncode: int, late: bool) -> str:
    if late:
        return "stopped at its deadline"
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"ended by {Signals(-returncode).name}"
    except ValueError:  # a real-time signal
        return f"ended by signal {-returncode}"
