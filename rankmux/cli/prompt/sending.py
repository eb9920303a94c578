"""The commands given at a prompt: sent one after the other, their results gathered, folded and shown.

It knows no keys and no terminal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from ...core.client.arguments import To
from ...core.client.events import CommandAccepted, CommandDone, RefusalReceived, ResultRouted
from ...core.client.session import ClientSession
from ...errors import ArgumentError, PayloadTooBig, RankmuxError, StateError
from ..seat.answers import Commands
from ..seat.loop import Driver
from ..shared.client_words import escaped, parse_line
from ..shared.connection_flags import Exit
from .folding import Gathering
from .screen import Line, Screen
from .words import answered, done, outline

__all__ = ["Sending"]

_WAITING_MAX = 64  # commands under way; a server allows 1,024
_UNSENT_MAX_BYTES = 256 * 1024
_INTERVAL_S = 0.5  # for so long results are held back, for their like may come


class Sending:
    """What one prompt sends through `commands`; `session()` is None while there is no connection."""

    def __init__(
        self,
        loop: Driver,
        commands: Commands,
        session: Callable[[], ClientSession | None],
        screen: Screen,
        note: Callable[[Exit], None],
    ) -> None:
        self._loop = loop
        self._commands = commands
        self._session = session
        self._screen = screen
        self._note = note
        self._queue: deque[tuple[To, bytes]] = deque()
        self._open: dict[int, Gathering] = {}
        self._due: set[int] = set()
        loop.settlers.append(self._advance)

    @property
    def busy(self) -> bool:
        """Whether something waits to be sent, or to be answered."""
        return bool(self._queue or self._open)

    def status(self) -> Iterator[str]:
        """A line for each command that waits, the oldest first."""
        for gathering in self._open.values():
            yield f"{gathering.command}: {gathering}"
        if self._queue:
            yield f"{len(self._queue):,} more to be sent"

    def enter(self, line: str) -> None:
        """Send what somebody has typed."""
        try:
            parsed = parse_line(line.encode(errors="surrogateescape"))
        except ArgumentError as error:
            self._complain(f"Not understood: {escaped(str(error))}", Exit.USAGE)
            return
        if parsed is not None:
            self._queue.append(parsed)
            self._loop.settle_again()

    def stop(self, why: str) -> None:
        """Wait no more, for the reason `why`: show what has come, and say what has not."""
        for id_, gathering in list(self._open.items()):
            self._commands.forget(id_)
            self._drop(id_, gathering, why)
        if self._queue:
            self._screen.say([("warn", f"Not sent, {why}: "), ("", f"{len(self._queue):,} commands")])
            self._queue.clear()

    def _drop(self, id_: int, gathering: Gathering, why: str) -> None:
        del self._open[id_]
        self._show(gathering, all_of_it=True)
        self._screen.say([("warn", f"{why[0].upper()}{why[1:]}, {gathering}: "), ("", gathering.command)])

    def _advance(self) -> None:
        while self._queue and len(self._open) < _WAITING_MAX:
            session = self._session()
            if session is not None and session.output_size > _UNSENT_MAX_BYTES:
                return
            self._send(session, *self._queue.popleft())

    def _send(self, session: ClientSession | None, to: To, payload: bytes) -> None:
        told_of = Gathering(outline(payload))
        id_ = 0

        def told(
            event: CommandAccepted | RefusalReceived | ResultRouted | CommandDone | RankmuxError,
        ) -> None:
            self._told(id_, told_of, event)

        try:
            if session is None:
                raise StateError("sending", "there is no connection")
            id_ = self._commands.send(session, payload, to, results=True, ttl_ms=0, told=told)
        except PayloadTooBig as error:
            self._complain(f"Not sent: {error}", Exit.USAGE)
        except StateError as error:
            self._screen.say([("bad", f"Not sent, {error.state}: "), ("", told_of.command)])
            self._note(Exit.NOT_CONNECTED)
        else:
            self._open[id_] = told_of
            self._screen.refresh()

    def _complain(self, text: str, code: Exit) -> None:
        self._screen.say([("bad", text)])
        self._note(code)

    # what comes back

    def _told(
        self,
        id_: int,
        gathering: Gathering,
        event: CommandAccepted | RefusalReceived | ResultRouted | CommandDone | RankmuxError,
    ) -> None:
        match event:
            case CommandAccepted():
                gathering.accepted(event)
                if event.rejected:
                    members = "1 member" if event.rejected == 1 else f"{event.rejected} members"
                    self._screen.say(
                        [("warn", f"Rejected for {members} above you: "), ("", gathering.command)]
                    )
            case ResultRouted():
                gathering.routed(event)
                if id_ not in self._due:
                    self._due.add(id_)
                    self._loop.after(_INTERVAL_S, lambda: self._show_again(id_))
            case CommandDone():
                del self._open[id_]
                self._show(gathering, all_of_it=True)
                self._screen.say(done(event, gathering.command))
                self._note(
                    Exit.of(
                        failed=event.failed, rejected=event.rejected, expired=event.expired, left=event.left
                    )
                )
            case RefusalReceived():
                del self._open[id_]
                self._screen.say(
                    [("warn", f"Refused, {escaped(event.text)}: "), ("", gathering.command)],
                )
                self._note(Exit.REFUSED)
            case _:
                self._drop(id_, gathering, "not known, the connection went first")
        self._screen.refresh()

    def _show_again(self, id_: int) -> None:
        self._due.discard(id_)
        if id_ in self._open:
            self._show(self._open[id_])

    def _show(self, gathering: Gathering, *, all_of_it: bool = False) -> None:
        lines: list[Line] = [
            line for group in gathering.take(all_of_it=all_of_it) for line in answered(group)
        ]
        if lines and len(self._open) + all_of_it > 1:  # say whose results these are
            lines.insert(0, [("dim", f"{gathering.command}:")])
        self._screen.say(*lines)
