"""Commands entered at the prompt: sent one after the other, their results gathered, folded and shown.

It knows no keys and no terminal.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from ...aio import Counts, Receipt, RoutedResult
from ...errors import ArgumentError, CommandRefused, LocalError, StateError
from ...system.printable import escaped
from ..seat.seat import Answer, Seat
from ..shared.event_lines import parse_line
from ..shared.exit_codes import Exit
from ..shared.folding import Gathering
from ..shared.group_lines import Line, group_lines, outline
from ..shared.targets import Target
from ..shared.wording import counted
from .screen import Screen
from .words import done

__all__ = ["Sending"]

_OPEN_MAX = 64  # commands under way; a server allows 1,024
_INTERVAL_S = 0.5  # results are held back for this long, to be folded with equal ones


class Sending:
    """The commands that one prompt sends through `seat`; `note` takes an exit code."""

    def __init__(self, seat: Seat, screen: Screen, note: Callable[[Exit], None]) -> None:
        self._seat = seat
        self._screen = screen
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Target, bytes]] = deque()
        self._open: dict[asyncio.Task[None], Gathering] = {}
        self._due: set[Gathering] = set()

    @property
    def busy(self) -> bool:
        """Whether a command waits to be sent or answered."""
        return bool(self._queue or self._open)

    def status(self) -> Iterator[str]:
        """A line for each command under way, the oldest first."""
        for gathering in self._open.values():
            yield f"{gathering.command}: {gathering}"
        if self._queue:
            yield f"{len(self._queue):,} more to be sent"

    def enter(self, line: str) -> None:
        """Send the command in a line that was typed."""
        try:
            parsed = parse_line(line.encode(errors="surrogateescape"))
        except ArgumentError as error:
            self._complain(f"Not understood: {escaped(str(error))}", Exit.USAGE)
            return
        if parsed is not None:
            self._queue.append(parsed)
            self._advance()

    def stop(self) -> None:
        """Wait no longer: show the results so far, and name the commands that have not ended."""
        for task, gathering in list(self._open.items()):
            task.cancel()
            self._drop(gathering, "No longer waited for")
        self._open.clear()
        if self._queue:
            self._screen.say(
                [("warn", "Not sent, no longer waited for: "), ("", f"{len(self._queue):,} commands")]
            )
            self._queue.clear()

    def _drop(self, gathering: Gathering, why: str) -> None:
        self._show(gathering, all_of_it=True)
        self._screen.say([("warn", f"{why}, {gathering}: "), ("", gathering.command)])

    def _advance(self) -> None:
        while self._queue and len(self._open) < _OPEN_MAX:
            to, payload = self._queue.popleft()
            gathering = Gathering(outline(payload))
            task = self._loop.create_task(self._send(gathering, to, payload))
            self._open[task] = gathering
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)
        self._advance()
        self._screen.refresh()

    def _complain(self, text: str, code: Exit) -> None:
        self._screen.say([("bad", text)])
        self._note(code)

    # what comes back

    async def _send(self, gathering: Gathering, to: Target, payload: bytes) -> None:
        async for answer in self._seat.answers(payload, to, results=True):
            self._tell(gathering, answer)
            self._screen.refresh()

    def _tell(self, gathering: Gathering, answer: Answer) -> None:
        command = ("", gathering.command)
        match answer:
            case Receipt():
                gathering.executors = answer.executors
                if answer.rejected:
                    text = f"Rejected for {counted(answer.rejected)} above you: "
                    self._screen.say([("warn", text), command])
                if answer.absent:
                    text = f"Passed over, absent: {counted(answer.absent)}: "
                    self._screen.say([("warn", text), command])
            case RoutedResult():
                gathering.add(answer)
                if gathering not in self._due:
                    self._due.add(gathering)
                    self._loop.call_later(_INTERVAL_S, self._show_again, gathering)
            case Counts():
                self._show(gathering, all_of_it=True)
                self._screen.say(done(answer, gathering.command))
                self._note(Exit.of_counts(answer))
            case CommandRefused():
                self._screen.say([("warn", f"Refused, {escaped(answer.text)}: "), command])
                self._note(Exit.REFUSED)
            case StateError():
                self._screen.say([("bad", f"Not sent, {answer.state}: "), command])
                self._note(Exit.NOT_CONNECTED)
            case LocalError():
                self._complain(f"Not sent: {answer}", Exit.USAGE)
            case _:
                self._drop(gathering, "The outcome is not known")

    def _show_again(self, gathering: Gathering) -> None:
        self._due.discard(gathering)
        if gathering in self._open.values():
            self._show(gathering)

    def _show(self, gathering: Gathering, *, all_of_it: bool = False) -> None:
        lines: list[Line] = [
            line for group in gathering.take(all_of_it=all_of_it) for line in group_lines(group)
        ]
        if lines and len(self._open) > 1:  # say whose results these are
            lines.insert(0, [("dim", f"{gathering.command}:")])
        self._screen.say(*lines)
