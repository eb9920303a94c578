"""The prompt of rankmux-client, which stays while things happen above it.

It is sender and executor at once, and executes a command by showing it. prompt_toolkit runs in the same asyncio loop as
the seat. `words` has the texts, `screen` brings them to the terminal.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from contextlib import suppress
from itertools import islice
from typing import Any, cast

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings

from ...aio import Promoted, ReceivedCommand, Welcomed
from ...core.client.events import ExecuteRejected
from ...errors import ConfigError, LocalError
from ...system.printable import escaped
from ..seat.seat import Incident, Lost, Seat
from ..seat.socket import SeatSocket, offered
from ..shared import event_loop
from ..shared.exit_codes import Exit
from ..shared.group_lines import Line
from ..shared.signals import ending
from ..shared.wording import complain, why
from .editing import MEANT, SLASH, Completing, history
from .members import Members
from .screen import STYLE, Screen
from .sending import Sending
from .words import HELP, fitted, promoted, received, rejected, welcomed

__all__ = ["Prompt", "run"]

_STATUS_LINES = 3
_NARROW = 40  # columns; below, `rank 2 of 7` becomes `2/7`
_SIGN = " › "  # noqa: RUF001 - no greater-than sign, which would look like a redirection


class Prompt:
    """One run at a terminal, with the flags `arguments`. Raises LocalError."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._seat = Seat(arguments, self._execute, reconnect=arguments.reconnect)
        self._screen = Screen(sys.stdout.fileno())
        self._sending = Sending(self._seat, self._screen, self._note)
        self._members = Members(self._seat.client, self._screen)
        self._path: str | None = arguments.seat
        self._offer: SeatSocket | None = None
        self._code = Exit.OK
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False
        self._joined = False
        self._retry = ""
        self._reason = ""
        self._complaint = ""
        self._history = history(arguments.history)
        self._session: PromptSession[str] = PromptSession(
            self._front,
            style=STYLE,
            history=self._history,
            completer=Completing(self._members.below, self._history),
            complete_while_typing=False,
            key_bindings=self._keys(),
            enable_suspend=True,
            erase_when_done=True,
            output=self._screen.output,
        )
        self._session.default_buffer.accept_handler = self._entered

    async def run(self) -> int:
        """Run until the seat is left or lost; the exit code."""
        for number in ending():
            self._loop.add_signal_handler(number, self._finish, Exit.INTERRUPTED)
        self._screen.app = self._session.app
        typing: asyncio.Future[Any] = asyncio.ensure_future(
            self._session.prompt_async(pre_run=self._begin, handle_sigint=False, set_exception_handler=False)
        )
        try:
            ends: set[asyncio.Future[Any]] = {typing, self._over}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not self._over.done():  # the terminal has gone
                self._finish(Exit.INTERRUPTED)
            await self._over
        finally:
            self._leave_terminal(typing)
            with suppress(EOFError):
                await typing
            for task in self._tasks:
                task.cancel()
            if self._offer is not None:
                self._offer.close()
            self._screen.close()
        if self._complaint:
            complain(self._complaint)
        return self._code

    def _leave_terminal(self, typing: asyncio.Future[Any]) -> None:
        if not (typing.done() or self._session.app.is_done):
            self._session.app.exit(result="")

    def _begin(self) -> None:
        self._start(self._follow())
        self._start(self._members.keep_counting())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks = [*(task for task in self._tasks if not task.done()), self._loop.create_task(work)]

    # the prompt

    def _front(self) -> StyleAndTextTuples:
        columns = self._screen.columns
        waiting = list(islice(self._sending.status(), _STATUS_LINES + 1))
        if len(waiting) > _STATUS_LINES:
            waiting[_STATUS_LINES - 1 :] = ["and more commands under way"]
        if self._retry:
            waiting.insert(0, self._retry)
        lines: Line = [("class:dim", fitted(text, columns) + "\n") for text in waiting]
        return cast(StyleAndTextTuples, lines + self._place())

    def _place(self) -> Line:
        rank, members = self._seat.client.rank, self._seat.client.member_count
        narrow = self._screen.columns < _NARROW
        if rank is None:
            words = "leaving" if self._ending else "no rank"
            return [("class:away", words), ("", _SIGN)]
        where = f"{rank}/{members}" if narrow else f"rank {rank} of {members}"
        return [("class:prompt", where), ("", _SIGN)]

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        typing = has_focus(DEFAULT_BUFFER)
        empty = Condition(lambda: not self._session.default_buffer.text)

        @keys.add("c-c", filter=typing)
        def _(event: Any) -> None:
            self._interrupted(event.app)

        @keys.add("c-d", filter=typing & empty)
        def _(_: Any) -> None:
            self._finish(Exit.OK)

        return keys

    def _interrupted(self, app: Application[Any]) -> None:
        if app.current_buffer.text:
            app.current_buffer.reset()
        elif self._ending:
            self._end()
        elif self._sending.busy:
            self._sending.stop()
        else:
            self._screen.say([("dim", "Ctrl-D leaves.")])

    def _entered(self, buffer: Buffer) -> bool:
        for line in buffer.text.splitlines():
            front = [(style.removeprefix("class:"), text) for style, text in self._place()]
            self._screen.say([*front, ("", escaped(line))])
            word = line.strip()
            if word.startswith("//"):
                self._sending.enter(word[1:])
            elif word.startswith("/"):
                self._obey(word)
            else:
                self._sending.enter(line)
                if (slash := MEANT.get(word.lower())) is not None:
                    self._screen.say(
                        [("dim", f"A line without / is for those below you. {slash}: {SLASH[slash]}")]
                    )
        return False  # the line goes into the history, and a new one begins

    def _obey(self, word: str) -> None:
        match word:
            case "/quit":
                self._finish(Exit.OK)
            case "/help":
                self._screen.say(*([("", line)] for line in HELP))
            case "/who":
                self._start(self._members.show())
            case _:
                known = ", ".join(SLASH)
                text = f"There is no {escaped(word.split(maxsplit=1)[0])}, there are {known}"
                self._screen.say([("bad", f"{text}; a command that begins with / is sent as //...")])
                self._note(Exit.USAGE)

    # what happens

    async def _execute(self, command: ReceivedCommand) -> None:
        self._screen.say(received(command))

    async def _follow(self) -> None:
        async for incident in self._seat.incidents():
            await self._happened(incident)

    async def _happened(self, incident: Incident) -> None:
        match incident:
            case Welcomed():
                await self._welcomed(incident)
            case ExecuteRejected():
                self._screen.say(rejected(incident))
            case Promoted():
                self._screen.say(promoted(incident))
            case Lost():
                self._lost(incident)

    async def _welcomed(self, event: Welcomed) -> None:
        again = self._joined
        self._retry = self._reason = ""
        self._screen.say(welcomed(event, again))
        if not again:
            self._screen.say([("dim", "A line goes to all below you. /help explains more, Ctrl-D leaves.")])
        if self._path is not None and self._offer is None:
            await self._offer_seat(self._path)
        self._joined = True
        self._seat.execute()

    async def _offer_seat(self, path: str) -> None:
        try:
            self._offer = await offered(path, self._seat)
        except ConfigError as error:
            self._complaint = str(error)
            self._finish(Exit.USAGE)
        else:
            self._screen.say([("dim", f"Seat: {escaped(str(self._offer.path))}")])

    def _lost(self, lost: Lost) -> None:
        reason = why(lost.error)
        if lost.again_s is None:
            self._complaint = reason
            self._note(Exit.without_connection(lost.error))
            self._end()
            return
        again = f"trying again in {lost.again_s:.1f} s"
        if reason != self._reason:  # a server may be away for hours: each reason is told once
            self._screen.say([("bad", f"No connection: {reason}; {again}…")])
        self._reason, self._retry = reason, f"{again}: {reason}"
        self._screen.refresh()

    def _note(self, code: Exit) -> None:
        self._code = max(self._code, code)

    def _finish(self, code: Exit) -> None:
        self._note(code)
        if not self._ending:
            self._ending = True
            self._sending.stop()
            self._start(self._leave())
            self._screen.refresh()

    async def _leave(self) -> None:
        await self._seat.leave()
        self._end()

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)


def run(arguments: argparse.Namespace) -> int:
    """Run a prompt; the exit code."""

    async def prompt() -> int:
        return await Prompt(arguments).run()

    try:
        return event_loop.run(prompt())
    except LocalError as error:
        complain(why(error))
        return Exit.USAGE
