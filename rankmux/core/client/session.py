"""A client's side of one connection, without I/O: bytes in, events out; sends in, bytes out (PROTOCOL sections 2 on).

`ClientState` is the table of states; a send that it does not allow raises StateError and changes nothing. A server's
mistake never raises: it ends the session, and the `Ended` event has the reason. The session knows no socket, no clock
and no thread; the drivers bring those.
"""

from __future__ import annotations

from ...errors import (
    AuthError,
    CannotConnect,
    ConnectionLost,
    FullError,
    ProtocolViolation,
    RankmuxError,
    ServerError,
)
from ..wire import frames
from ..wire.codes import FRAME_OVERHEAD, SERVER_FRAMES, ErrorCode, FrameType, Status
from ..wire.fields import violation
from .events import (
    ClientEvent,
    CommandAccepted,
    CommandDone,
    CommandsForgotten,
    CommandsReceived,
    Ended,
    ExecuteReceived,
    ExecuteRejected,
    ExecutionCancelled,
    MembersPage,
    RefusalReceived,
    ResultsRouted,
    SeatEvent,
    SeatLost,
    ServerErrorReceived,
    Welcomed,
    Yielded,
)
from .keep import SeatState
from .requests import Requests
from .results import RoutedResult
from .states import ClientState

__all__ = ["ClientSession", "ClientState"]

_EXECUTE, _ROUTED = int(FrameType.EXECUTE), int(FrameType.ROUTED)
_ERRORS: dict[int, type[ServerError]] = {ErrorCode.AUTH: AuthError, ErrorCode.FULL: FullError}
_CLOSED = "the server closed the connection"
_TLS_ALERT = b"\x15\x03"
"""The beginning of what a server of TLS answers to bytes that are none; as a length it is too large for us."""


class ClientSession(Requests):
    """One connection, from HELLO to its end.

    Feed `receive_data` and `receive_eof`; take `events()`; write the bytes of `data_to_send()` to the server. A new
    session has its HELLO in the output. `observe` asks for no seat, `watch` for each event of the line; `kept` is the
    seat that outlives the connection. `max_payload_limit` (bytes) bounds the frames that are received, whatever the
    server announces; before WELCOME the protocol's default max_payload does. `pending_limit` bounds the commands that
    wait for answers.

    `seat` has the rank and the room. `max_payload` (bytes) and `ping_ms` are the server's, None before WELCOME.
    """

    # receiving

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the server, however they are chunked. Never raises; `b""` means nothing."""
        while data and self.state is ClientState.AWAITING:
            size = self._first_frame_rest()
            self._feed(data[:size])
            data = data[size:]
        if data and self.state is not ClientState.ENDED:
            self._feed(data)

    def receive_eof(self, reason: str = _CLOSED, cure: str = "") -> None:
        """The stream ended, or failed for `reason`. A partial frame is dropped (section 3.4).

        `cure`: as of CannotConnect, for a session that has not begun.
        """
        match self.state:
            case ClientState.AWAITING:
                self._end(CannotConnect(f"{reason} without an answer" if reason is _CLOSED else reason, cure))
            case ClientState.JOINED | ClientState.OBSERVING:
                self._end(ConnectionLost(reason))
            case ClientState.LEAVING:
                self._end(None)
            case ClientState.ENDED:
                pass

    def _first_frame_rest(self) -> int:
        # Frames behind WELCOME may be longer, as its max_payload allows, so none of their bytes is decoded before it.
        if len(self._first_length) < 4:
            return 4 - len(self._first_length)
        return 4 + int.from_bytes(self._first_length) - self._decoder.pending

    def _feed(self, data: bytes) -> None:
        if len(self._first_length) < 4:
            self._first_length += data[:4]
            if self._first_length.startswith(_TLS_ALERT):
                self._end(CannotConnect("the server speaks TLS", "tls"))
                return
        decoder = self._decoder
        decoder.feed(data)
        try:
            while (next_type := decoder.next_type()) is not None:
                if next_type == _EXECUTE and self._receive_executes():
                    continue
                if next_type == _ROUTED and self._receive_results():
                    continue
                type_, body = decoder.frame()
                frame = frames.decode(type_, body, SERVER_FRAMES)
                if type_ not in self.state.receives:
                    raise violation(f"{FrameType(type_).name} came while {self.state.text}")
                self._receive(frame)
                if self.state is ClientState.ENDED:
                    return  # the ERROR was the last frame that counts
        except ProtocolViolation as error:
            self._end(error)

    # Frames that come in numbers are taken together as far as they are in order. The first that is not is left for
    # `_receive`, which has the words for it.

    def _receive_executes(self) -> bool:
        rank = self.seat.rank
        if rank is None:
            return False
        event = self._decoder.executes(rank, self.seat.stream_seq)
        if event is None:
            return False
        self._baton_due = False
        last = event.commands[-1].seq
        self.seat.advance(last)
        if self.kept is not None:
            self.kept.executed(last)
        self._events.append(event)
        return True

    def _receive_results(self) -> bool:
        if not self.state.sends and self.state is not ClientState.LEAVING:
            return False
        event, ends, end = self._decoder.results()
        if not event.results or not self._pending.route_all(event.id, ends):
            return False
        self._decoder.skip(end)
        self._baton_due = False
        self._events.append(event)
        return True

    def _receive(self, frame: frames.Frame) -> None:
        baton_due, self._baton_due = self._baton_due, False
        match frame:  # the frequent ones first
            case frames.Done():
                self._pending.finish(frame)
                self._events.append(CommandDone(*frame))
            case frames.Accepted():
                written = self._pending.accept(frame)
                self.seat.observe(frame.seq)
                if written is not None:
                    self.seat.note(frames.Baton(frame.seq, self.seat.ticket or 0, written))
                self._events.append(CommandAccepted(*frame))
            case frames.Execute():
                self._receive_execute(frame)
            case frames.Rank():
                if (promoted := self.seat.move(frame)) is not None:
                    self._baton_due = promoted.rank == 0
                    self._events.append(promoted)
            case frames.Baton():
                if not baton_due and self.state is ClientState.JOINED:
                    raise violation("a BATON came that is not right behind the frame that gave rank 0")
                self.seat.note(frame)
            case frames.Changed():
                if not self.watches:
                    raise violation("a CHANGED came, and this client does not watch")
                self._events.append(self.seat.change(frame))
            case frames.Yielded():
                self._step_back(frame)
            case frames.Routed():
                result = RoutedResult(frame.rank, frame.ticket, self._pending.route(frame), frame.payload)
                self._events.append(ResultsRouted(frame.id, [result], len(frame.payload)))
            case frames.Refused():
                self._pending.refuse(frame)
                self._events.append(RefusalReceived(*frame))
            case frames.Members():
                self._pending.list_members(frame)
                self.seat.observe(frame.seq)
                self.seat.member_count = frame.total
                self._events.append(MembersPage(*frame))
            case frames.Stop():
                self._events.append(ExecutionCancelled(frame.seq))
            case frames.Ping():
                if self.state.open:
                    self._send_automatic(frames.Pong(frame.payload))
            case frames.Pong():
                self._pending.pong(frame.payload)
                if self.kept is not None:
                    self._tell(self.kept.ponged(self.seat.rank))
            case frames.Welcome():
                self._join(frame)
            case frames.ErrorFrame():
                self._events.append(ServerErrorReceived(*frame))
                kind = _ERRORS.get(frame.code, ServerError)
                self._end(kind(frame.code, frame.text))
            case _:  # pragma: no cover - `decode` gives nothing else
                raise AssertionError(frame)

    def _join(self, frame: frames.Welcome) -> None:
        if self.observes:
            self.seat.look_on(frame)
        else:
            self.seat.take(frame)
        event: SeatEvent | None = None
        if self.kept is not None:
            event = self.kept.welcomed(frame)
            self.generation = self.kept.generation
        elif frame.keep_ms is not None:
            raise violation("WELCOME has a keep that was not asked for")
        self.max_payload, self.ping_ms = frame.max_payload, frame.ping_ms
        self.state = ClientState.OBSERVING if self.observes else ClientState.JOINED
        self._decoder.max_length = min(frame.max_payload, self._max_payload_limit) + FRAME_OVERHEAD
        self._baton_due = frame.rank == 0
        if isinstance(event, SeatLost):
            self._tell(event)
        self._events.append(Welcomed(*frame))
        if self.kept is not None and frame.returned:
            self._tell(event)
            for result in self.kept.results():
                self._output += frames.Result(*result).encode()

    def _step_back(self, frame: frames.Yielded) -> None:
        forgotten = self._pending.step_back(frame)
        if not self.seat.step_back(frame):
            return
        self._baton_due = frame.rank == 0
        if self.kept is not None:
            self.kept.yielded(frame.ticket)
            self.generation = self.kept.generation
        if forgotten:
            self._events.append(CommandsForgotten(forgotten))
        self._events.append(Yielded(*frame))

    def _receive_execute(self, frame: frames.Execute) -> None:
        command = self.seat.execute(frame)
        if self.kept is not None:
            self.kept.executed(frame.seq)
        if isinstance(command, ExecuteRejected) and command.wants_result:
            text = f"rank {command.sender_rank} does not outrank {command.rank}"
            self.try_result(command.seq, Status.REJECTED, text.encode())
        if isinstance(command, ExecuteReceived):
            self._events.append(CommandsReceived([command], len(command.payload)))
        elif command is not None:
            self._events.append(command)

    def check_deadline(self) -> None:
        """Notice that the deadline of a kept seat has passed (section 13), while the connection looks open."""
        if self.kept is not None and self.state is ClientState.JOINED:
            self._tell(self.kept.overdue())

    def interrupt(self, error: RankmuxError) -> list[ClientEvent]:
        """End it for `error`, after an exception while bytes or events moved, and give the last events alone."""
        self._events.clear()
        kept = self.kept is not None and self.kept.state is SeatState.ABSENT
        if self.state is ClientState.ENDED:
            return [Ended(error, kept)]
        self._end(error)
        return self.events()

    def _end(self, error: RankmuxError | None) -> None:
        joined = self.state in (ClientState.JOINED, ClientState.LEAVING)
        self.state = ClientState.ENDED
        self.seat.give_up()
        self._output.clear()
        if self.kept is None or not joined:
            self._events.append(Ended(error))
            return
        self._tell(self.kept.ended(error))
        self._events.append(Ended(error, self.kept.state is SeatState.ABSENT))

    def _tell(self, event: SeatEvent | None) -> None:
        if event is not None and self.kept is not None:
            self._events.append(event)
            self.kept.news.append(event)
