"""A seat that outlives its connections, from the side of the client that holds it (PROTOCOL sections 9 and 13).

It holds the secret, the deadline up to which the client may take itself for the holder, and the final results that may
have been lost with a connection. It knows no bytes and no socket; the clock comes in as an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from ...errors import ConnectionLost, RankmuxError, ServerError
from ..wire.codes import ErrorCode, Status
from ..wire.fields import violation
from ..wire.frames import Keep, Welcome
from .events import SeatAbsent, SeatEvent, SeatLost, SeatReturned

__all__ = ["KeptSeat", "SeatState"]

_RESULTS_MAX = 1024
_RESULTS_MAX_BYTES = 4 * 1024 * 1024
_MARKS_MAX = 16
_NEWS_MAX = 64
_PING_MIN_S = 0.01  # whatever the server grants


class SeatState(Enum):
    """What a client may assume of its seat."""

    NONE = "none"
    PRESENT = "present"
    ABSENT = "absent"


class _Mark(NamedTuple):
    """An open PING: its number on this connection, when it was sent, and the number of results sent before it."""

    ping: int
    sent_s: float
    results: int


class KeptSeat:
    """The seat of one client over all its connections. `clock` gives seconds that never go back.

    `keep_s` is what the server has granted, 0.0 before WELCOME and where it keeps nothing: then all is as without a
    keep. `deadline_s` is when this client last showed a sign of life that the server has answered, plus the keep: the
    server keeps the seat for longer than that. `generation` changes whenever what the seat owed has ended. `news` holds
    its last events, for a driver that takes them here.
    """

    def __init__(self, ms: int, secret: bytes, clock: Callable[[], float]) -> None:
        self.keep_s = 0.0
        self.deadline_s: float | None = None
        self.ticket: int | None = None
        self.state = SeatState.NONE
        self.generation = 0
        self.news: deque[SeatEvent] = deque(maxlen=_NEWS_MAX)
        self._ms = ms
        self._secret = secret
        self._clock = clock
        self._last_seq = 0
        self._begun_s = clock()
        self._next_ping_s = 0.0
        self._pings = self._pongs = 0
        self._marks: deque[_Mark] = deque()
        self._results: deque[tuple[int, Status, bytes]] = deque()  # final ones, not known to have arrived
        self._results_size = 0
        self._results_sent = 0  # all that ever were in there

    @property
    def holds(self) -> bool:
        """Whether this client may take itself for the holder of its seat: present, and in front of the deadline."""
        return self.state is SeatState.PRESENT and (
            self.deadline_s is None or self._clock() < self.deadline_s
        )

    def holds_ticket(self, ticket: int) -> bool:
        """Whether the seat is still that of `ticket`, be it absent, and the deadline has not passed."""
        return self.ticket == ticket and self.deadline_s is not None and self._clock() < self.deadline_s

    # a connection

    def hello(self) -> Keep:
        """A new connection begins; what its HELLO says."""
        self._begun_s = self._clock()
        self._pings = self._pongs = 0
        self._marks.clear()
        return Keep(self._ms, self._last_seq, self._secret)

    def welcomed(self, frame: Welcome) -> SeatEvent | None:
        """WELCOME: returned to the seat, or a new one. Raises ProtocolViolation."""
        if frame.keep_ms is None:
            raise violation("WELCOME says nothing of the keep that was asked for")
        before, known = self.ticket, self.keep_s > 0
        if frame.returned and before is not None and frame.ticket < before:
            raise violation(f"WELCOME returns to ticket {frame.ticket}, this client had {before}")
        event: SeatEvent | None = None
        if frame.returned:
            event = SeatReturned(frame.rank)
        elif before is not None and known:
            event = SeatLost(before)
        if not frame.returned or frame.ticket != before:
            self._settle()
        if not frame.returned:
            self._last_seq = 0
        self.ticket, self.state = frame.ticket, SeatState.PRESENT
        self.keep_s = min(frame.keep_ms, self._ms) / 1000
        self.deadline_s = self._begun_s + self.keep_s if self.keep_s else None
        self._next_ping_s = self._begun_s + max(self.keep_s / 3, _PING_MIN_S)
        return event

    def yielded(self, ticket: int) -> None:
        """The same seat under a new ticket."""
        self._settle()
        self.ticket = ticket

    def ended(self, error: RankmuxError | None) -> SeatEvent | None:
        """The connection has ended for `error`, None after LEAVE: the seat is absent, or gone."""
        if self.state is SeatState.NONE:
            return None
        gone = error is None or (isinstance(error, ServerError) and error.code != ErrorCode.SHUTDOWN)
        if gone or not self.keep_s:
            return self.give_up()
        absent, self.state = self.state is SeatState.ABSENT, SeatState.ABSENT
        return None if absent else SeatAbsent(error)

    def give_up(self) -> SeatEvent | None:
        """The seat is given back, or gone."""
        ticket, kept = self.ticket, self.keep_s > 0
        self.ticket, self.state, self.deadline_s = None, SeatState.NONE, None
        self._settle()
        return SeatLost(ticket) if kept and ticket is not None else None

    # signs of life

    def patience_s(self) -> float | None:
        """Seconds until a PING is due, or the deadline passes; None: for ever."""
        if not self.keep_s or self.deadline_s is None:
            return None
        due_s = self._next_ping_s
        if self.state is SeatState.PRESENT:
            due_s = min(due_s, self.deadline_s)
        return max(0.0, due_s - self._clock())

    def ping_due(self) -> bool:
        """Whether a PING is due; the next one is then due after a third of the keep."""
        now_s = self._clock()
        if not self.keep_s or now_s < self._next_ping_s:
            return False
        self._next_ping_s = now_s + max(self.keep_s / 3, _PING_MIN_S)
        return True

    def overdue(self) -> SeatAbsent | None:
        """The deadline has passed while the connection looks open; None if it has not, or was noticed before."""
        if self.state is not SeatState.PRESENT or self.holds:
            return None
        self.state = SeatState.ABSENT
        return SeatAbsent(ConnectionLost(f"no PING was answered for {self.keep_s:g} s"))

    def ping_sent(self) -> None:
        """A PING goes out."""
        self._pings += 1
        if len(self._marks) >= _MARKS_MAX:
            self._marks.pop()
        self._marks.append(_Mark(self._pings, self._clock(), self._results_sent))

    def ponged(self, rank: int | None) -> SeatReturned | None:
        """The oldest open PING is answered: the server has read all that was sent before it."""
        self._pongs += 1
        if not self.keep_s or not self._marks or self._marks[0].ping > self._pongs:
            return None
        mark = self._marks.popleft()
        self._confirm(mark.results)
        if rank is None or self.deadline_s is None:
            return None
        self.deadline_s = max(self.deadline_s, mark.sent_s + self.keep_s)
        if self.state is SeatState.ABSENT and self._clock() < self.deadline_s:
            self.state = SeatState.PRESENT
            return SeatReturned(rank)
        return None

    # what the seat owes

    def executed(self, seq: int) -> None:
        """An EXECUTE has come."""
        self._last_seq = seq

    def keep_result(self, seq: int, status: Status, payload: bytes) -> bool:
        """Note a final result that is sent, or will be after the return; True when a PING should confirm some."""
        if not self.keep_s or status is Status.PART:
            return False
        self._results.append((seq, status, payload))
        self._results_size += len(payload)
        self._results_sent += 1
        while len(self._results) > _RESULTS_MAX or self._results_size > _RESULTS_MAX_BYTES:
            self._drop_oldest()
        many = 2 * len(self._results) > _RESULTS_MAX or 2 * self._results_size > _RESULTS_MAX_BYTES
        return many and not self._marks

    def results(self) -> list[tuple[int, Status, bytes]]:
        """The final results to be sent again after a return."""
        return list(self._results)

    def _confirm(self, results: int) -> None:
        while self._results and self._results_sent - len(self._results) < results:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, _, payload = self._results.popleft()
        self._results_size -= len(payload)

    def _settle(self) -> None:
        """Nothing is owed any more."""
        self.generation += 1
        self._results.clear()
        self._results_size = 0
