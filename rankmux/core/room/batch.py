"""The commands and results of one turn, taken from the members' byte streams. `batch.pxi` is its compiled twin."""

from __future__ import annotations

from ..._twin import twin
from ...errors import ProtocolViolation
from ..wire.codes import CLIENT_STATUSES, FRAME_OVERHEAD, CommandFlag, FrameType, Target
from ..wire.frames import Command, Frame, Leave, Pong, Result, SetBaton, Who, Yield
from ..wire.layouts import COMMAND, HEAD, LENGTH_BYTES, RESULT, TYPE_BYTES
from ..wire.violations import bad_length, member_frame, observer_frame
from .encoding import check_run, encode, runs

__all__ = ["BATON_WRITE", "OBSERVERS", "OTHER_WORK", "UNLIMITED", "WAITING_WORK", "Batch", "Event"]

WAITING_WORK = 4
"""The work of a COMMAND that wants results, which are accounted for."""

OTHER_WORK = 8
"""The work of a frame that is no COMMAND or RESULT, which count as 1: it is made an object, and so is its answer."""
UNLIMITED = 1 << 62
BATON_WRITE = 255
"""In the place of a command's target: it is no command, but a BATON (section 10), which has its place among them."""
OBSERVERS = 1 << 63
"""From here on, numbers in the place of tickets name observers, who have none."""

# Plain numbers: to look up a member of an enumeration costs more than to compare it.
_COMMAND_TYPE, _RESULT_TYPE = int(FrameType.COMMAND), int(FrameType.RESULT)
_ALL, _ONE, _LEAST, _SET = int(Target.ALL), int(Target.ONE), int(Target.LEAST), int(Target.SET)
_RESULTS = int(CommandFlag.RESULTS)
_PLAIN_FLAGS = int(CommandFlag.RESULTS | CommandFlag.QUIET)

_LEAVE = Leave().encode()

Event = Frame | ProtocolViolation | int
"""Input of a member beside commands and results: a frame, a violation, an errno (0: end of stream)."""


@twin
class Batch:
    """The commands and results that a turn took from its members, in the order in which they arrived.

    `work_left`    the work that the turn has room for: frames, of which some count as OTHER_WORK
    `bytes_left`   the bytes of frames after which it takes no further COMMAND or RESULT, which others have to be sent
    `shared_left`  the bytes of commands to many after which it takes no further one: every member may be sent them
    `listed_left`  members that it may list in answers to WHO; the last answer may go over it
    `members`      the size of the room, by which the work of a WHO is estimated
    """

    __slots__ = (
        "_buffer",
        "bytes_left",
        "commands",
        "listed_left",
        "max_payload",
        "members",
        "results",
        "shared_left",
        "work_left",
    )

    def __init__(self, max_payload: int) -> None:
        self.max_payload = max_payload
        self.commands: list[tuple[int, int, int, int, int, int, bytes]] = []
        self.results: list[tuple[int, int, int, bytes]] = []
        self._buffer = memoryview(bytearray())
        self.allow(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, 0)

    def allow(self, work: int, size: int, shared: int, listed: int, members: int) -> None:
        """Begin a turn that has room for so much (see the attributes)."""
        self.work_left, self.bytes_left, self.shared_left = work, size, shared
        self.listed_left, self.members = listed, members

    def spend(self, work: int) -> None:
        """Count work of the turn that is not in a frame."""
        self.work_left -= work

    def __len__(self) -> int:
        return len(self.commands) + len(self.results)

    def entries(
        self,
    ) -> tuple[list[tuple[int, int, int, int, int, int, bytes]], list[tuple[int, int, int, bytes]]]:
        """Commands: (ticket, id, target, arg, flags, ttl_ms, payload); results: (ticket, seq, status, payload).

        A target of BATON_WRITE stands for a BATON.
        """
        return self.commands, self.results

    def frames(self) -> list[tuple[int, bytes, int]]:
        """The same as (ticket, frame, rank), results first.

        Frames are whole; the rank is the one that a COMMAND to ONE names, else -1.
        """
        found = [
            (ticket, Result(seq, status, payload).encode(), -1)
            for ticket, seq, status, payload in self.results
        ]
        for ticket, id_, target, arg, flags, ttl_ms, payload in self.commands:
            if target == BATON_WRITE:
                found.append((ticket, SetBaton(id_, payload).encode(), -1))
            else:
                frame = Command(id_, target, arg, flags, ttl_ms, payload).encode()
                found.append((ticket, frame, arg if target == _ONE else -1))
        return found

    def clear(self) -> None:
        """Make room for the next turn."""
        self.commands.clear()
        self.results.clear()

    def encode(self) -> bytes:
        """The batch as bytes (`encoding`); `decode` of an empty batch gives the same entries in the same order."""
        return encode(self.frames())

    def decode(self, data: bytes) -> None:
        """Enter what `encode` wrote. Raises SnapshotError on anything else; entries before it have been entered."""
        for ticket, frames in runs(data):
            check_run(frames, *self.feed(ticket, frames))

    def buffer(self, size: int) -> memoryview:
        """`size` bytes to read into, the same ones each time."""
        if len(self._buffer) != size:
            self._buffer = memoryview(bytearray(size))
        return self._buffer

    def feed(
        self, ticket: int, data: bytes | bytearray | memoryview, share: int = UNLIMITED
    ) -> tuple[int, list[Event]]:
        """Take whole frames off the front of `data`, which the member `ticket` sent, while the turn has room for them.

        Frames are taken until their work comes to `share`: the first one always, if the turn has room at all.

        Returns how many bytes that took and what else than commands and results was there. Behind a LEAVE or a breach
        nothing counts any more: all of `data` is taken then, and nothing more may be fed for that ticket. Behind a
        YIELD nothing is taken in this turn.
        """
        with memoryview(data) as view:
            return self._feed(ticket, view, share)

    def _feed(self, ticket: int, data: memoryview, share: int) -> tuple[int, list[Event]]:
        events: list[Event] = []
        observer = ticket >= OBSERVERS
        least_left = max(0, self.work_left - share)
        max_length = self.max_payload + FRAME_OVERHEAD
        max_result = self.max_payload + TYPE_BYTES + RESULT.size
        cursor, end = 0, len(data)
        while end - cursor >= LENGTH_BYTES and self.work_left > least_left:
            length = int.from_bytes(data[cursor : cursor + LENGTH_BYTES])
            if not 0 < length <= max_length:
                events.append(bad_length(length, max_length))
                return end, events
            stop = cursor + LENGTH_BYTES + length
            if stop > end:
                break
            type_ = data[cursor + LENGTH_BYTES]
            if self.bytes_left <= 0 and type_ in (_COMMAND_TYPE, _RESULT_TYPE):
                break
            body = cursor + HEAD.size
            if observer:
                pass
            elif type_ == _COMMAND_TYPE and length > COMMAND.size:
                id_, target, arg, flags, ttl_ms = COMMAND.unpack_from(data, body)
                if target in (_ALL, _SET) and self.shared_left <= 0:
                    break
                if target <= _LEAST and flags <= _PLAIN_FLAGS and (not arg or target == _ONE):
                    payload = bytes(data[body + COMMAND.size : stop])
                    self._enter(ticket, id_, target, arg, flags, ttl_ms, payload)
                    cursor = stop
                    continue
            elif type_ == _RESULT_TYPE and RESULT.size < length <= max_result:
                seq, status = RESULT.unpack_from(data, body)
                if status in CLIENT_STATUSES:
                    self.results.append((ticket, seq, status, bytes(data[body + RESULT.size : stop])))
                    self.work_left -= 1
                    self.bytes_left -= stop - cursor
                    cursor = stop
                    continue
            try:
                judge = observer_frame if observer else member_frame
                frame = judge(type_, bytes(data[body:stop]), self.max_payload)
            except ProtocolViolation as breach:
                events.append(breach)
                return end, events
            if isinstance(frame, Command):
                self._enter(ticket, *frame)
                cursor = stop
                continue
            if isinstance(frame, SetBaton):
                self.commands.append((ticket, frame.id, BATON_WRITE, 0, 0, 0, frame.payload))
                self.work_left -= OTHER_WORK
                self.bytes_left -= stop - cursor
                cursor = stop
                continue
            if isinstance(frame, Who) and not self._may_list(frame):
                break
            self.work_left -= OTHER_WORK
            self.bytes_left -= stop - cursor
            cursor = stop
            if isinstance(frame, Pong):
                continue
            events.append(frame)
            if isinstance(frame, Leave):
                return end, events
            if isinstance(frame, Yield) and data[cursor : cursor + len(_LEAVE)] != _LEAVE:
                break  # the frames after it are sent from another rank
        return cursor, events

    def _enter(
        self, ticket: int, id_: int, target: int, arg: int, flags: int, ttl_ms: int, payload: bytes
    ) -> None:
        """Enter a command and count it; each member that it names counts as a command."""
        self.commands.append((ticket, id_, target, arg, flags, ttl_ms, payload))
        size = HEAD.size + COMMAND.size + len(payload)
        self.bytes_left -= size
        self.work_left -= WAITING_WORK if flags & _RESULTS else 1
        if target == _ALL:
            self.shared_left -= size
        elif target == _SET:
            self.work_left -= arg
            self.shared_left -= size * min(arg, self.members) // max(1, self.members)

    def _may_list(self, who: Who) -> bool:
        """Whether the turn has room for the answer to `who`; counts it."""
        if self.listed_left <= 0:
            return False
        self.listed_left -= 1 + max(0, min(who.count, self.members - who.first_rank))
        return True
