"""The interactive form of rankmux-client, at a terminal: a prompt that stays while things happen above it.

It is sender and executor at once; it executes a command by showing it. Everything runs in one asyncio loop, the one
that prompt_toolkit needs. How things look is in `prompt_words`, how they get on the terminal in `prompt_screen`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
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

from ...core.client.events import (
    ClientEvent,
    ExecuteReceived,
    ExecuteRejected,
    MembersPage,
    Promoted,
    Welcomed,
)
from ...core.wire.codes import Status
from ...errors import LocalError, RankmuxError
from ..seat.requests import Requests
from ..seat.seat import Seat
from ..seat.socket import SeatSocket
from ..shared.client_words import escaped
from ..shared.connection_flags import Exit, address_of, token_reader
from ..shared.wording import complain, why
from .editing import SLASH, Completing, history
from .loop import PromptLoop
from .members import Members
from .screen import STYLE, Line, Screen
from .sending import Sending
from .words import HELP, fitted, met, promoted, received, rejected

__all__ = ["Prompt", "prompted"]

_STATUS_LINES = 3
_NARROW = 40  # columns; below, `rank 2 of 7` becomes `2/7`
_SIGN = " › "  # noqa: RUF001 - no greater-than sign, which would look like a redirection
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Prompt:
    """One run at a terminal. Its flags are `arguments`."""

    def __init__(self, arguments: argparse.Namespace, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio = loop
        self._loop = PromptLoop(loop)
        self._seat = Seat(
            self._loop,
            address_of(arguments),
            arguments.name,
            token_reader(arguments),
            arguments.timeout,
            reconnect=arguments.reconnect,
            on_event=self._happened,
            on_lost=self._lost,
        )
        self._screen = Screen(self._loop, sys.stdout.fileno())
        self._sending = Sending(
            self._loop, self._seat.commands, lambda: self._seat.session, self._screen, self._note
        )
        self._members = Members(self._loop, self._seat, self._screen)
        self._path = arguments.seat
        self._offer: SeatSocket | None = None
        self._code = Exit.OK
        self._over: asyncio.Future[None] = loop.create_future()
        self._ending = False
        self._welcomed = False
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
            erase_when_done=True,
            output=self._screen.output,
        )
        self._session.default_buffer.accept_handler = self._entered

    def open(self) -> None:
        """Join. Raises LocalError; ConnectionLost unless it reconnects."""
        self._seat.open()

    async def run(self) -> int:
        """Run until it is left or lost; the exit code."""
        for number in _SIGNALS:
            self._asyncio.add_signal_handler(number, self._finish, Exit.INTERRUPTED)
        self._asyncio.set_exception_handler(self._broken)
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
        self._loop.settle_again()
        self._members.look()

    def _broken(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context["message"])
        if not self._over.done():
            self._over.set_exception(error)

    # the prompt

    def _front(self) -> StyleAndTextTuples:
        columns = self._screen.columns
        waiting = list(islice(self._sending.status(), _STATUS_LINES + 1))
        if len(waiting) > _STATUS_LINES:
            waiting[_STATUS_LINES - 1 :] = ["and more that wait for their results"]
        if self._retry:
            waiting.insert(0, self._retry)
        lines: Line = [("class:dim", fitted(text, columns) + "\n") for text in waiting]
        return cast(StyleAndTextTuples, lines + self._place())

    def _place(self) -> Line:
        session = self._seat.session
        narrow = self._screen.columns < _NARROW
        if session is None or session.seat.rank is None:
            words = "leaving" if self._ending else "no rank"
            return [("class:away", words), ("", _SIGN)]
        seat = session.seat
        where = f"{seat.rank}/{seat.members}" if narrow else f"rank {seat.rank} of {seat.members}"
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
            self._sending.stop("no longer waited for")
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
                self._told_to(word)
            else:
                self._sending.enter(line)
        return False  # the line goes into the history, and a new one begins

    def _told_to(self, word: str) -> None:
        match word:
            case "/quit":
                self._finish(Exit.OK)
            case "/help":
                self._screen.say(*([("", line)] for line in HELP))
            case "/who":
                self._members.say()
            case _:
                known = ", ".join(SLASH)
                text = f"There is no {escaped(word.split(maxsplit=1)[0])}, there are {known}"
                self._screen.say([("bad", f"{text}; what begins with / is sent as //...")])
                self._note(Exit.USAGE)

    # what happens

    def _happened(self, event: ClientEvent) -> None:
        match event:
            case Welcomed():
                self._met(event)
            case ExecuteReceived():
                self._screen.say(received(event))
                session = self._seat.session
                if event.wants_result and session is not None:
                    session.try_result(event.seq, Status.OK)
            case ExecuteRejected():
                self._screen.say(rejected(event))
            case Promoted():
                self._screen.say(promoted(event))
            case MembersPage():
                self._members.counted()
            case _:
                pass

    def _met(self, event: Welcomed) -> None:
        again, self._welcomed = self._welcomed, True
        self._retry = self._reason = ""
        self._members.counted()
        self._screen.say(met(event, again))
        if not again:
            self._screen.say([("dim", "A line goes to all below you. /help tells more, Ctrl-D leaves.")])
        if self._path is not None and self._offer is None:
            self._open_seat()

    def _open_seat(self) -> None:
        try:
            self._offer = SeatSocket(
                self._path,
                lambda reply: Requests(self._seat.commands, lambda: self._seat.session, reply),
                self._loop.watch,
            )
        except LocalError as error:
            self._complaint = str(error)
            self._finish(Exit.USAGE)
        else:
            self._screen.say([("dim", f"Seat: {escaped(str(self._offer.path))}")])

    def _lost(self, error: RankmuxError, again_s: float | None) -> None:
        reason = why(error)
        if again_s is None:
            self._complaint = reason
            self._note(Exit.NOT_CONNECTED)
            self._end()
            return
        if reason != self._reason:  # a server may be away for hours: each reason is told once
            self._screen.say([("bad", f"No connection: {reason}; trying again in {again_s:.1f} s…")])
        self._reason, self._retry = reason, f"trying again in {again_s:.1f} s: {reason}"
        self._screen.refresh()

    def _note(self, code: Exit) -> None:
        self._code = max(self._code, code)

    def _finish(self, code: Exit) -> None:
        self._note(code)
        if not self._ending:
            self._ending = True
            self._sending.stop("no longer waited for")
            self._seat.leave(self._end)
            self._loop.settle_again()

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)


def prompted(arguments: argparse.Namespace) -> int:
    """Run a prompt; the exit code. Raises LocalError, ConnectionLost, KeyboardInterrupt."""
    with asyncio.Runner() as runner:
        prompt = Prompt(arguments, runner.get_loop())
        prompt.open()
        return runner.run(prompt.run())
