"""What a driver keeps of one connection's events until its user takes it; all of it bounded.

Answers go to the command that they belong to, received commands and promotions into queues, pages of WHO to their
listing. Nothing here knows a socket, a thread or the clock; drivers apply events and read the queues.
"""

from __future__ import annotations

from collections import deque
from weakref import WeakSet, WeakValueDictionary

from ...errors import CommandRefused, ConnectionLost, ProtocolViolation, RankmuxError
from ..wire.codes import U32_MAX, ErrorCode, Status
from ..wire.frames import MemberInfo
from .events import (
    CommandAccepted,
    CommandDone,
    Ended,
    Event,
    ExecuteReceived,
    MembersPage,
    Promoted,
    RefusalReceived,
    ResultRouted,
)
from .sent import Progress
from .session import ClientSession

__all__ = ["Inbox", "Listing"]

_COMMANDS_SOFT = 1024  # then reading stops, as long as somebody runs them: TCP slows their senders down
_COMMANDS_SOFT_BYTES = 4 * 1024 * 1024
_COMMANDS_HARD = (
    16_384  # over the soft limit and what one read brings; where nobody runs them, the rest is turned away
)
_COMMANDS_HARD_BYTES = 32 * 1024 * 1024
_PROMOTIONS_MAX = 1024
_UNREAD_RESULTS_MAX_BYTES = 64 * 1024 * 1024
_LISTING_MAX = 1 << 20  # members; far over any room, so that a hostile server cannot fill our memory
_LISTING_RESTARTS_MAX = 5


class Inbox:
    """The queues of one connection.

    `commands` are the EXECUTEs that nobody has run yet. Where they become too many, no more should be received; who
    must receive all the same has those over the hard limit turned away: answered FAILED, so that their senders do not
    wait, and counted in `turned_away`. `promotions` keeps the last 1,024; so does `refusals`, those of QUIET commands
    without results, which nobody waits for.
    """

    def __init__(self, session: ClientSession) -> None:
        self.commands: deque[tuple[ExecuteReceived, float]] = deque()
        self.promotions: deque[Promoted] = deque(maxlen=_PROMOTIONS_MAX)
        self.refusals: deque[CommandRefused] = deque(maxlen=_PROMOTIONS_MAX)
        self.pages: dict[int, MembersPage | None] = {}
        self.turned_away = 0
        self._session = session
        self._commands_size = 0
        # Weak, so that a receipt that its user has dropped takes its unread results with it.
        self._by_id: WeakValueDictionary[int, Progress] = WeakValueDictionary()
        self._alive: WeakSet[Progress] = WeakSet()
        self._unread_at_most = 0

    @property
    def many_commands(self) -> bool:
        """Whether so many commands wait that no more should be received, if somebody runs them."""
        return len(self.commands) >= _COMMANDS_SOFT or self._commands_size >= _COMMANDS_SOFT_BYTES

    @property
    def many_results(self) -> bool:
        """Whether so many results are unread that no more should be received."""
        if self._unread_at_most > _UNREAD_RESULTS_MAX_BYTES:
            self._unread_at_most = sum(progress.unread_size for progress in self._alive)
        return self._unread_at_most > _UNREAD_RESULTS_MAX_BYTES

    def expect(self, id_: int, wants_results: bool) -> Progress:
        """Follow the command `id_`, for as long as somebody holds what is returned."""
        progress = Progress(id_, wants_results)
        self._by_id[id_] = progress
        self._alive.add(progress)
        return progress

    def apply(self, event: Event, now_s: float) -> None:
        """Put one event where it belongs; those that only tell something are left to the driver."""
        match event:
            case ExecuteReceived():
                self._queue(event, now_s)
            case ResultRouted():
                if (progress := self._by_id.get(event.id)) is not None:
                    self._unread_at_most += progress.routed(event)
            case CommandAccepted():
                if (progress := self._by_id.get(event.id)) is not None:
                    progress.accepted(event)
                    if not progress.wants_results:
                        del self._by_id[event.id]
            case CommandDone():
                if (progress := self._by_id.pop(event.id, None)) is not None:
                    progress.done(event)
            case RefusalReceived():
                if (progress := self._by_id.pop(event.id, None)) is not None:
                    progress.refused(event)
                else:
                    self.refusals.append(CommandRefused(event.id, event.code, event.text))
            case MembersPage():
                if event.id in self.pages:
                    self.pages[event.id] = event
            case Promoted():
                self.promotions.append(event)
            case Ended():
                self._lose(event.error)
            case _:
                pass

    def take_command(self) -> tuple[ExecuteReceived, float] | None:
        """The oldest command that nobody has run yet, and when it came."""
        if not self.commands:
            return None
        command, received_s = self.commands.popleft()
        self._commands_size -= len(command.payload)
        return command, received_s

    def _queue(self, command: ExecuteReceived, now_s: float) -> None:
        size = self._commands_size + len(command.payload)
        if len(self.commands) < _COMMANDS_HARD and size <= _COMMANDS_HARD_BYTES:
            self.commands.append((command, now_s))
            self._commands_size = size
            return
        self.turned_away += 1
        if command.wants_result:
            text = f"{len(self.commands)} commands wait here already"
            self._session.try_result(command.seq, Status.FAILED, text.encode())

    def _lose(self, error: RankmuxError | None) -> None:
        reason = error.reason if isinstance(error, ConnectionLost) else str(error or "this client left")
        for progress in list(self._by_id.values()):
            progress.error = ConnectionLost(reason)
            progress.error.__cause__ = error
        self._by_id.clear()
        self.commands.clear()  # their senders have been told LEFT; nothing could be answered


class Listing:
    """All members, page by page, while the room goes on changing.

    Each page begins with the last member of the one before. Where it does not, somebody senior has gone and the ranks
    have closed up, so the sweep begins again; after five of those it goes on, and may miss who moved meanwhile. It may
    as well where names are so long, and max_payload so small, that a page holds one member alone.
    """

    def __init__(self) -> None:
        self._members: dict[int, MemberInfo] = {}
        self._first_rank = 0
        self._expected: int | None = None  # the ticket that the next page begins with
        self._restarts = 0

    @property
    def members(self) -> list[MemberInfo]:
        """Those seen so far, by rank."""
        return list(self._members.values())

    def request(self) -> tuple[int, int]:
        """What to ask for next: first_rank and count (section 2)."""
        return self._first_rank, U32_MAX

    def receive(self, page: MembersPage) -> bool:
        """Take a page; whether that was the last. Raises ProtocolViolation when there is no end to it."""
        rows = page.members
        moved = self._expected is not None and (not rows or rows[0].ticket != self._expected)
        if moved and self._restarts < _LISTING_RESTARTS_MAX:
            self._restarts += 1
            self._members.clear()
            self._first_rank, self._expected = 0, None
            return False
        for row in rows:
            self._members[row.ticket] = row
        if len(self._members) > _LISTING_MAX:
            raise ProtocolViolation(ErrorCode.TOO_BIG, f"WHO lists more than {_LISTING_MAX} members")
        if not rows or rows[-1].rank + 1 >= page.total:
            return True
        last, alone = rows[-1], len(rows) == 1
        if last.rank < self._first_rank + (not alone):
            return True  # it does not get on
        self._first_rank, self._expected = (last.rank + 1, None) if alone else (last.rank, last.ticket)
        return False
