"""A client's open requests: commands until they are settled, WHOs until they are answered, PINGs.

It checks the server's answers to them: every command is settled exactly once, with the counts that its results add up
to (PROTOCOL sections 5 and 6). It holds a few numbers for each command, whatever the server sends. It knows no bytes,
no socket and no clock.
"""

from __future__ import annotations

from collections import deque
from operator import add

from ...errors import StateError
from ..wire.codes import U32_MAX, Status
from ..wire.fields import violation
from ..wire.frames import Accepted, Done, Members, Refused, Routed, Yielded

__all__ = ["SILENT_ID", "Pending"]

SILENT_ID = 0x8000_0000
"""The bit in the ids of commands that only a REFUSED answers: QUIET ones without results."""
_OPEN_PINGS_MAX = 16  # one is enough to find a dead server; many open ones mean that it does not read
_OPEN_BATONS_MAX = 16
_ENDS = (Status.OK, Status.FAILED, Status.REJECTED, Status.EXPIRED, Status.LEFT, Status.CANCELLED)


class _Command:
    """An open command: the answers it asks for, and how many executors ended in which way."""

    __slots__ = ("accepted", "ends", "executors", "number", "quiet", "results")

    def __init__(self, results: bool, quiet: bool, number: int) -> None:
        self.number = number
        self.results = results
        self.quiet = quiet
        self.accepted = False
        self.executors = 0
        self.ends = [0] * len(_ENDS)


class Pending:
    """The open requests of one connection: at most `limit` commands and as many WHOs at a time."""

    __slots__ = (
        "_batons",
        "_commands",
        "_last_id",
        "_number",
        "_open_pings",
        "_pings",
        "_silent_last_id",
        "_silent_open",
        "_who",
        "_yields",
        "limit",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._commands: dict[int, _Command] = {}
        self._number = 0  # of the latest command
        self._who: dict[int, int] = {}
        self._batons: dict[int, bytes] = {}
        self._yields: dict[int, int] = {}  # the number of the latest command before each
        self._pings: deque[tuple[bytes, int]] = deque()  # runs of equal payloads, each with its length
        self._open_pings = 0
        self._last_id = 0
        self._silent_last_id = 0
        self._silent_open = 0

    def _next_id(self) -> int:
        id_ = self._last_id
        while True:  # ends: at most `limit` ids are taken in each
            id_ = id_ % (SILENT_ID - 1) + 1
            if not (id_ in self._commands or id_ in self._who or id_ in self._batons or id_ in self._yields):
                self._last_id = id_
                return id_

    def add_command(self, results: bool, quiet: bool) -> int:
        """The id for a new command; raises StateError when `limit` commands are open already."""
        if quiet and not results:
            return self.add_silent()
        if len(self._commands) >= self.limit:
            raise StateError("sending one more command", f"{self.limit} commands wait for their answers")
        id_ = self._next_id()
        self._number += 1
        self._commands[id_] = _Command(results, quiet, self._number)
        return id_

    def add_silent(self) -> int:
        """The id for a new command that only a REFUSED answers."""
        if self._silent_open < U32_MAX:
            self._silent_open += 1
        self._silent_last_id = self._silent_last_id % (SILENT_ID - 1) + 1
        return SILENT_ID | self._silent_last_id

    def waits_for_results(self, id_: int) -> bool:
        """Whether the command `id_` waits for results, so that it can be cancelled."""
        command = self._commands.get(id_)
        return command is not None and command.results

    def owed(self, id_: int) -> int:
        """The number of executors of the command `id_` that have not ended; 0 where it is not known."""
        command = self._commands.get(id_)
        return 0 if command is None or not command.accepted else command.executors - sum(command.ends)

    def add_who(self, count: int) -> int:
        """The id for a new WHO that asks for `count` members; raises StateError when `limit` are open already."""
        if len(self._who) >= self.limit:
            raise StateError("sending one more WHO", f"{self.limit} of them wait for their answers")
        id_ = self._next_id()
        self._who[id_] = count
        return id_

    def add_baton(self, payload: bytes) -> int:
        """The id for a new BATON; raises StateError when too many are open already."""
        if len(self._batons) >= _OPEN_BATONS_MAX:
            raise StateError("writing one more baton", f"{len(self._batons)} of them wait for their answers")
        id_ = self._next_id()
        self._batons[id_] = payload
        return id_

    def add_yield(self) -> int:
        """The id for a new YIELD; raises StateError when one is open already."""
        if self._yields:
            raise StateError("stepping back", "this client steps back already")
        id_ = self._next_id()
        self._yields[id_] = self._number
        return id_

    def add_ping(self, payload: bytes, *, unread: bool = False) -> None:
        """Note a PING; raises StateError when the server owes too many PONGs, unless `unread`, as nobody reads."""
        if self._open_pings >= _OPEN_PINGS_MAX and not unread:
            raise StateError("sending one more PING", f"{_OPEN_PINGS_MAX} of them wait for their PONGs")
        self._open_pings += 1
        if self._pings and self._pings[-1][0] == payload:
            self._pings[-1] = payload, self._pings[-1][1] + 1
        else:
            self._pings.append((payload, 1))

    def _command(self, id_: int, frame: str) -> _Command:
        command = self._commands.get(id_)
        if command is None:
            raise violation(f"{frame} came for the command {id_}, which waits for nothing")
        return command

    def accept(self, frame: Accepted) -> bytes | None:
        """Check ACCEPTED; it settles a command that wants no results, and a baton, whose payload is returned."""
        if frame.id in self._batons:
            if any(frame[2:]):
                raise violation(f"ACCEPTED of the baton {frame.id} counts {list(frame[2:])} members")
            return self._batons.pop(frame.id)
        command = self._command(frame.id, "ACCEPTED")
        if command.quiet:
            raise violation(f"ACCEPTED came for the command {frame.id}, which is QUIET")
        if command.accepted:
            raise violation(f"ACCEPTED came twice for the command {frame.id}")
        if not command.results:
            del self._commands[frame.id]
            return None
        command.accepted = True
        command.executors = frame.executors
        return None

    def refuse(self, frame: Refused) -> None:
        """Check REFUSED; it settles every kind of command."""
        if frame.id & SILENT_ID:
            if not self._silent_open:
                raise violation(f"REFUSED came for the command {frame.id}, which was never sent")
            self._silent_open -= 1
            return
        if frame.id in self._batons:
            del self._batons[frame.id]
            return
        if frame.id in self._yields:
            del self._yields[frame.id]
            return
        command = self._command(frame.id, "REFUSED")
        if command.accepted or any(command.ends):
            raise violation(f"REFUSED came for the command {frame.id}, which was dispatched")
        del self._commands[frame.id]

    def route(self, frame: Routed) -> Status:
        """Check ROUTED and count it; returns its status."""
        command = self._command(frame.id, "ROUTED")
        if not command.results:
            raise violation(f"ROUTED came for the command {frame.id}, which wants no results")
        if not command.accepted and not command.quiet:
            raise violation(f"ROUTED came for the command {frame.id} before it was ACCEPTED")
        status = Status(frame.status)
        if status is not Status.PART:
            command.ends[status] += 1
        if command.accepted and sum(command.ends) > command.executors:
            raise violation(f"the command {frame.id} went to {command.executors}, and more than that ended")
        return status

    def route_all(self, id_: int, ends: list[int]) -> bool:
        """Count several ROUTEDs of one command that are in order; False, and nothing is counted, if one is not."""
        command = self._commands.get(id_)
        if command is None or not command.results or not (command.accepted or command.quiet):
            return False
        counts = list(map(add, command.ends, ends))
        if command.accepted and sum(counts) > command.executors:
            return False
        command.ends = counts
        return True

    def finish(self, frame: Done) -> None:
        """Check DONE against the results that came; it settles the command."""
        command = self._command(frame.id, "DONE")
        counts = list(frame[1:])
        if not command.results or not (command.accepted or command.quiet):
            raise violation(f"DONE came for the command {frame.id}, which does not wait for it")
        if counts != command.ends:
            raise violation(
                f"DONE of the command {frame.id} counts {counts}, its results make {command.ends}"
            )
        if command.accepted and sum(counts) != command.executors:
            raise violation(
                f"DONE of the command {frame.id} counts {sum(counts)} executors of {command.executors}"
            )
        del self._commands[frame.id]

    def step_back(self, frame: Yielded) -> tuple[int, ...]:
        """Check YIELDED; the commands from before the YIELD, which have no further answers now."""
        number = self._yields.pop(frame.id, None)
        if number is None:
            raise violation(f"YIELDED came for the YIELD {frame.id}, which was not sent")
        forgotten = tuple(id_ for id_, command in self._commands.items() if command.number <= number)
        for id_ in forgotten:
            del self._commands[id_]
        return forgotten

    def list_members(self, frame: Members) -> None:
        """Check MEMBERS; it answers its WHO."""
        count = self._who.pop(frame.id, None)
        if count is None:
            raise violation(f"MEMBERS came for the WHO {frame.id}, which does not wait for it")
        if len(frame.members) > count:
            raise violation(f"MEMBERS lists {len(frame.members)} members, at most {count} were asked for")

    def pong(self, payload: bytes) -> None:
        """Check PONG: it answers the oldest open PING, with the same bytes."""
        if not self._pings or self._pings[0][0] != payload:
            raise violation("a PONG came that answers no PING of ours")
        self._open_pings -= 1
        if self._pings[0][1] == 1:
            self._pings.popleft()
        else:
            self._pings[0] = payload, self._pings[0][1] - 1
