"""The inbox of one connection: the events that wait until the client's user takes them, all of it bounded.

Answers go to the requests they belong to, received commands and promotions into queues. It knows no socket, no thread
and no clock; a driver sends requests through it, applies events, and reads the queues.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import repeat
from typing import TypeVar
from weakref import ref

from ...errors import CommandRefused, ConnectionLost, RankmuxError, ResultsLost, StateError
from ..wire.codes import RefusedCode, Status, Target
from .arguments import CommandArguments
from .events import (
    ClientEvent,
    CommandAccepted,
    CommandDone,
    CommandsForgotten,
    CommandsReceived,
    Ended,
    ExecuteReceived,
    ExecutionCancelled,
    LineChanged,
    MembersPage,
    Promoted,
    RefusalReceived,
    ResultsRouted,
    Yielded,
)
from .line import Line
from .received import ExecutedCommand
from .sent import PageRequest, Progress
from .session import ClientSession

__all__ = ["Inbox"]

# Above these limits a client whose commands are being run stops reading: TCP slows the senders down.
_COMMANDS_SOFT = 1024
_COMMANDS_SOFT_BYTES = 4 * 1024 * 1024
# Over the soft limits plus one read. A client whose commands nobody runs reads on, and turns the excess away.
_COMMANDS_HARD = 16_384
_COMMANDS_HARD_BYTES = 32 * 1024 * 1024
_PROMOTIONS_MAX = 1024
_UNREAD_RESULTS_MAX_BYTES = 64 * 1024 * 1024
_UNREAD_MANY = 1024  # commands with results, before those that have been dropped are looked for

_T = TypeVar("_T")


class Inbox:
    """The queues of one connection, and the requests that its answers go to.

    `commands` are the EXECUTEs that nobody has run yet, in order, each with the time it came; `running` are those that
    the driver has begun and not ended, for the server to cancel. Over the soft limit reading should stop; a driver that
    reads all the same has commands over the hard limit turned away: answered FAILED, so that their senders do not wait,
    and counted. `promotions` keeps the last 1,024, and so does `refusals`, those of QUIET commands without results,
    which nobody waits for. `turned_away` counts until `take_turned_away`.
    """

    def __init__(self, session: ClientSession) -> None:
        self.commands: deque[tuple[ExecuteReceived, float]] = deque()
        self.running: dict[int, ExecutedCommand] = {}
        self._cancelled: set[int] = set()  # the seqs of commands that wait, and are not to be run
        self.promotions: deque[Promoted] = deque(maxlen=_PROMOTIONS_MAX)
        self.refusals: deque[CommandRefused] = deque(maxlen=_PROMOTIONS_MAX)
        self.turned_away = 0
        self._lines: list[ref[Line]] = []
        self._session = session
        # The bytes of commands queued and taken so far; each has one writer, so that taking needs no lock.
        self._queued_size = self._taken_size = 0
        # Weak, so that a receipt that its user has dropped takes its unread results with it. Not of `weakref`'s own
        # collections: a signal handler may run in their callbacks, where Python drops the exception that it raises.
        self._by_id: dict[int, ref[Progress]] = {}
        self._pages: dict[int, ref[PageRequest]] = {}
        self._unread: dict[int, ref[Progress]] = {}
        self._unread_at_most = 0
        self._look_at = _UNREAD_MANY

    @property
    def commands_size(self) -> int:
        """The bytes of the commands that wait."""
        return self._queued_size - self._taken_size

    @property
    def commands_suffice(self) -> bool:
        """Whether reading should stop until some of `commands` have been run."""
        return len(self.commands) >= _COMMANDS_SOFT or self.commands_size >= _COMMANDS_SOFT_BYTES

    @property
    def results_suffice(self) -> bool:
        """Whether reading should stop until some results have been taken from their receipts."""
        if self._unread_at_most > _UNREAD_RESULTS_MAX_BYTES or len(self._unread) > self._look_at:
            unread = [
                (id_, weak, progress.unread_size)
                for id_, weak in self._unread.items()
                if (progress := weak()) is not None
            ]
            self._unread = {id_: weak for id_, weak, size in unread if size}
            self._unread_at_most = sum(size for _, _, size in unread)
            self._look_at = max(_UNREAD_MANY, 2 * len(self._unread))
        return self._unread_at_most > _UNREAD_RESULTS_MAX_BYTES

    def send_command(self, arguments: CommandArguments) -> Progress:
        """Send a command; its answers come to the returned progress for as long as the caller holds it.

        Raises StateError or PayloadTooBig; nothing is sent then.
        """
        to, results, quiet = arguments.to, arguments.results, arguments.quiet
        if to.target is Target.SET and not to.tickets:
            progress = Progress(0, results, arguments.forgiving)
            progress.refuse(CommandRefused(0, RefusedCode.NO_TARGET, "it names no member that is there"))
            return progress
        id_ = self._session.send_command(
            arguments.payload,
            to.target,
            to.arg,
            tickets=to.tickets,
            results=results,
            quiet=quiet,
            tied=arguments.tied,
            ttl_ms=arguments.ttl_ms,
        )
        if results or not quiet:
            return self.expect(id_, results, arguments.forgiving)
        return Progress(id_, results)

    def send_quietly(self, payloads: Sequence[bytes], arguments: CommandArguments) -> None:
        """Send QUIET commands without results, of which only refusals come back, into `refusals`.

        Raises StateError or PayloadTooBig; none is sent then.
        """
        to = arguments.to
        if to.target is not Target.SET or to.tickets:
            self._session.send_quietly(
                payloads, to.target, to.arg, tickets=to.tickets, ttl_ms=arguments.ttl_ms
            )

    def send_who(self, first_rank: int, count: int) -> PageRequest:
        """Send a WHO; its page comes to the returned request. Raises StateError."""
        request = PageRequest(self._session.send_who(first_rank, count))
        self._pages[request.id] = ref(request)
        return request

    def send_yield(self) -> Progress:
        """Step back; the answer comes to the returned progress, as to a command. Raises StateError."""
        return self.expect(self._session.send_yield(), False)

    def send_baton(self, payload: bytes) -> Progress:
        """Write the baton; the answer comes as to a command. Raises StateError or PayloadTooBig."""
        return self.expect(self._session.send_baton(payload), False)

    def watch(self, line: Line) -> None:
        """Feed `line` with the changes from now on, for as long as the caller holds it. Raises StateError."""
        if not self._session.watches:
            raise StateError("watching", "this client was made without watch=True")
        self._lines = [weak for weak in self._lines if weak() is not None]
        self._lines.append(ref(line))

    def adopt(self, before: Inbox) -> None:
        """Take over the commands of the connection before: this client is back in its seat, and still owes them."""
        before.commands.extend(self.commands)
        self._cancelled |= before._cancelled
        self.commands, self._queued_size = before.commands, before.commands_size + self._queued_size
        self.running = before.running

    def expect(self, id_: int, wants_results: bool, forgiving: bool = False) -> Progress:
        """Follow the command `id_`, for as long as the caller holds the returned progress."""
        progress = Progress(id_, wants_results, forgiving)
        self._by_id[id_] = ref(progress)
        return progress

    def apply(self, event: ClientEvent, now_s: float) -> None:
        """Put one event where it belongs. Events that only inform are the driver's alone."""
        match event:
            case CommandsReceived():
                self._queue(event, now_s)
            case ResultsRouted():
                weak = self._by_id.get(event.id)
                if weak is not None and (progress := weak()) is not None:
                    self._unread_at_most += progress.add(event)
                    self._unread[event.id] = weak
            case CommandAccepted():
                if (progress := _alive(self._by_id.get(event.id))) is None:
                    self._by_id.pop(event.id, None)
                else:
                    progress.accept(event)
                    if not progress.wants_results:
                        del self._by_id[event.id]
            case CommandDone():
                if (progress := _alive(self._by_id.pop(event.id, None))) is not None:
                    progress.finish(event)
            case RefusalReceived():
                refusal = CommandRefused(event.id, event.code, event.text)
                if (progress := _alive(self._by_id.pop(event.id, None))) is not None:
                    progress.refuse(refusal)
                else:
                    self.refusals.append(refusal)
            case ExecutionCancelled():
                self._cancel(event.seq)
            case MembersPage():
                if (request := _alive(self._pages.pop(event.id, None))) is not None:
                    request.page = event
            case Promoted():
                self.promotions.append(event)
            case LineChanged():
                for line in filter(None, map(_alive, self._lines)):
                    line.feed(event)
            case Yielded():
                self._step_back(event)
            case CommandsForgotten():
                for id_ in event.ids:
                    if (progress := _alive(self._by_id.pop(id_, None))) is not None:
                        progress.error = ResultsLost("this client stepped back")
            case Ended():
                self._lose(event.error, event.kept)
            case _:
                pass

    def take_command(self) -> tuple[ExecuteReceived, float] | None:
        """The oldest command that nobody has run yet, and when it came; None: all others were cancelled.

        A thread that takes one that wants no result needs no lock.
        """
        while self.commands:
            try:
                taken = self.commands.popleft()
            except IndexError:  # another thread has dropped them
                break
            if self._cancelled and taken[0].seq in self._cancelled:
                self._cancelled.discard(taken[0].seq)
                continue
            self._taken_size += len(taken[0].payload)
            return taken
        return None

    def take_turned_away(self) -> int:
        """The number of commands turned away since the last call."""
        count, self.turned_away = self.turned_away, 0
        return count

    def _cancel(self, seq: int) -> None:
        if (waiting := self._waiting(seq)) is not None:
            self._queued_size -= len(waiting.payload)
            self._cancelled.add(seq)
        elif (running := self.running.get(seq)) is not None:
            running._cancel()

    def _waiting(self, seq: int) -> ExecuteReceived | None:
        """The command that waits with that seq, if it wants a result. Another thread may take quiet ones meanwhile."""
        commands = self.commands
        while True:
            count = len(commands)
            with suppress(IndexError):
                found, _ = commands[bisect_left(commands, seq, key=_seq_of)]
                if found.seq == seq:
                    return found if found.wants_result and seq not in self._cancelled else None
            if len(commands) == count:
                return None

    def _queue(self, event: CommandsReceived, now_s: float) -> None:
        count = len(self.commands) + len(event.commands)
        if count <= _COMMANDS_HARD and self.commands_size + event.size <= _COMMANDS_HARD_BYTES:
            self._queued_size += event.size
            self.commands.extend(zip(event.commands, repeat(now_s)))
            return
        for command in event.commands:
            self._queue_or_turn_away(command, now_s)

    def _queue_or_turn_away(self, command: ExecuteReceived, now_s: float) -> None:
        size = len(command.payload)
        if len(self.commands) < _COMMANDS_HARD and self.commands_size + size <= _COMMANDS_HARD_BYTES:
            self._queued_size += size
            self.commands.append((command, now_s))
            return
        self.turned_away += 1
        if command.wants_result:
            text = f"{len(self.commands)} commands wait here already"
            self._session.try_result(command.seq, Status.FAILED, text.encode())

    def _step_back(self, event: Yielded) -> None:
        if (progress := _alive(self._by_id.pop(event.id, None))) is not None:
            progress.accept(CommandAccepted(event.id, event.seq, 0, 0))
        self._drop_commands()

    def _drop_commands(self) -> None:
        # The server has answered LEFT to their senders; nothing could be answered.
        self.commands.clear()
        self._cancelled.clear()
        self._queued_size = self._taken_size

    def _lose(self, error: RankmuxError | None, kept: bool) -> None:
        reason = error.reason if isinstance(error, ConnectionLost) else str(error or "this client left")
        for progress in filter(None, map(_alive, self._by_id.values())):
            progress.error = (ResultsLost if progress.wants_results else ConnectionLost)(reason)
            progress.error.__cause__ = error
        for request in filter(None, map(_alive, self._pages.values())):
            request.error = ConnectionLost(f"it ended before the members were listed: {reason}")
            request.error.__cause__ = error
        self._by_id.clear()
        for line in filter(None, map(_alive, self._lines)):
            line.lose(ConnectionLost(reason))
        self._pages.clear()
        self._lines.clear()
        if not kept:
            self._drop_commands()


def _seq_of(waiting: tuple[ExecuteReceived, float]) -> int:
    return waiting[0].seq


def _alive(weak: ref[_T] | None) -> _T | None:
    return None if weak is None else weak()
