"""A client's side of one connection, without I/O: bytes in, events out; sends in, bytes out (PROTOCOL sections 2 to 7).

`ClientState` is the table of states; a send that it does not allow raises StateError and changes nothing. A server's
mistake never raises: it ends the session, and the `Ended` event has the reason. The session knows no socket, no clock
and no thread; the drivers bring those.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import (
    ArgumentError,
    AuthError,
    ConnectionLost,
    PayloadTooBig,
    ProtocolViolation,
    RankmuxError,
    ServerError,
    StateError,
)
from ..wire import frames
from ..wire.codes import (
    CLIENT_STATUSES,
    DEFAULT_MAX_PAYLOAD,
    FRAME_OVERHEAD,
    NAME_MAX_BYTES,
    PING_MAX_BYTES,
    SERVER_FRAMES,
    TOKEN_MAX_BYTES,
    U32_MAX,
    CommandFlag,
    ErrorCode,
    FrameType,
    Status,
    Target,
)
from ..wire.fields import violation
from .decoder import FrameDecoder
from .events import (
    ClientEvent,
    CommandAccepted,
    CommandDone,
    Ended,
    ExecuteRejected,
    ExecutionCancelled,
    MembersPage,
    RefusalReceived,
    ResultRouted,
    ServerErrorReceived,
    Welcomed,
)
from .pending import Pending
from .seat import ClientSeat
from .states import ClientState

__all__ = ["ClientSession", "ClientState"]

_RECEIVABLE_PAYLOAD_MAX = 16 * 1024 * 1024  # the largest max_payload that a rankmux server can be set to
_PENDING_MAX = 65_536  # far over what a server allows (1024); bounds our memory if it never answers
# PONGs and REJECTEDs are dropped above it: a server that does not read needs none.
_AUTOMATIC_OUTPUT_MAX_BYTES = 256 * 1024


class ClientSession:
    """One connection, from HELLO to its end.

    Feed `receive_data` and `receive_eof`; take `events()`; write the bytes of `data_to_send()` to the server. A new
    session has its HELLO in the output. `max_payload_limit` (bytes) bounds the frames that are received, whatever the
    server announces; before WELCOME the protocol's default max_payload does. `pending_limit` bounds the commands that
    wait for answers.

    `seat` has the rank and the room. `max_payload` (bytes) and `ping_ms` are the server's, None before WELCOME.
    """

    def __init__(
        self,
        name: str = "",
        token: bytes = b"",
        *,
        max_payload_limit: int = _RECEIVABLE_PAYLOAD_MAX,
        pending_limit: int = _PENDING_MAX,
    ) -> None:
        if not isinstance(name, str) or not frames.valid_name(name):
            raise ArgumentError("name", name, f"expected at most {NAME_MAX_BYTES} bytes of printable text")
        if len(token) > TOKEN_MAX_BYTES:
            raise ArgumentError("token", f"{len(token)} bytes", f"expected at most {TOKEN_MAX_BYTES} bytes")
        self.state = ClientState.AWAITING
        self.seat = ClientSeat()
        self.max_payload: int | None = None
        self.ping_ms: int | None = None
        self._max_payload_limit = max_payload_limit
        self._pending = Pending(pending_limit)
        self._decoder = FrameDecoder(DEFAULT_MAX_PAYLOAD + FRAME_OVERHEAD)
        self._first_length = bytearray()
        self._events: list[ClientEvent] = []
        self._output = bytearray(frames.Hello(name, token).encode())

    # for drivers

    @property
    def output_size(self) -> int:
        """The number of bytes that wait in `data_to_send`."""
        return len(self._output)

    def data_to_send(self, limit: int | None = None) -> bytes:
        """Take the next bytes for the server, at most `limit`; `b""` when there are none."""
        if limit is None or limit >= len(self._output):
            data = bytes(self._output)
            self._output.clear()
        else:
            data = bytes(self._output[:limit])
            del self._output[:limit]
        return data

    def events(self) -> list[ClientEvent]:
        """Take the events since the last call, in order."""
        events, self._events = self._events, []
        return events

    # sending

    def send_command(
        self,
        payload: bytes,
        target: Target = Target.ALL,
        arg: int = 0,
        *,
        tickets: Sequence[int] = (),
        results: bool = False,
        quiet: bool = False,
        tied: bool = False,
        ttl_ms: int = 0,
    ) -> int:
        """Have `payload` executed by `target` (section 5); returns the id that its answers carry.

        `arg` is the rank for ONE, else 0; `tickets` are those of SET, each once and rising. `ttl_ms` 0 is no limit, or
        the server's default with `results`; `tied` goes with `results`. Raises StateError, PayloadTooBig, or
        ArgumentError; nothing is sent then.
        """
        named = b"".join(ticket.to_bytes(8) for ticket in tickets)
        self._check_sending(FrameType.COMMAND, payload, len(named))
        if not 0 <= arg <= U32_MAX or (arg and target is not Target.ONE):
            raise ArgumentError("arg", arg, f"expected a rank for ONE and 0 for {target.name}")
        if bool(tickets) is not (target is Target.SET):
            raise ArgumentError("tickets", tickets, "expected some for SET, and none for another target")
        if not 0 <= ttl_ms <= U32_MAX:
            raise ArgumentError("ttl_ms", ttl_ms, f"expected 0 to {U32_MAX} milliseconds")
        flags = CommandFlag.RESULTS * results | CommandFlag.QUIET * quiet | CommandFlag.TIED * tied
        id_ = self._pending.add_command(results, quiet)
        command = frames.Command(id_, target, arg or len(tickets), flags, ttl_ms, named + payload)
        self._output += command.encode()
        return id_

    def send_cancel(self, id_: int) -> bool:
        """End the command `id_` for the executors that have not ended (section 6); False if it does not wait.

        Raises StateError.
        """
        self._check_sending(FrameType.CANCEL)
        if not self._pending.waits_for_results(id_):
            return False
        self._output += frames.Cancel(id_).encode()
        return True

    def send_result(self, seq: int, status: Status, payload: bytes = b"") -> None:
        """Answer the EXECUTE `seq` (section 6). Raises StateError, PayloadTooBig or ArgumentError."""
        self._check_sending(FrameType.RESULT, payload)
        if status not in CLIENT_STATUSES:
            raise ArgumentError("status", status, "expected OK, FAILED, REJECTED or PART")
        self._output += frames.Result(seq, status, payload).encode()

    def try_result(self, seq: int, status: Status, payload: bytes = b"") -> None:
        """Answer the EXECUTE `seq` if that is possible; never raises, and cuts a payload that is too long.

        For answers that nobody here waits for: nothing is sent after the end, or to a server that does not read.
        """
        if self.state is ClientState.JOINED and self.max_payload is not None:
            self._send_automatic(frames.Result(seq, status, payload[: self.max_payload]))

    def send_who(self, first_rank: int = 0, count: int = U32_MAX) -> int:
        """Ask for `count` members from `first_rank` on (section 2); returns the id that the `MembersPage` carries."""
        self._check_sending(FrameType.WHO)
        for argument, value in (("first_rank", first_rank), ("count", count)):
            if not 0 <= value <= U32_MAX:
                raise ArgumentError(argument, value, f"expected 0 to {U32_MAX}")
        id_ = self._pending.add_who(count)
        self._output += frames.Who(id_, first_rank, count).encode()
        return id_

    def send_ping(self, payload: bytes = b"") -> None:
        """Ask whether the server is alive (section 3.5). Raises StateError, also while it owes too many PONGs."""
        self._check_sending(FrameType.PING)
        if len(payload) > PING_MAX_BYTES:
            raise ArgumentError(
                "payload", f"{len(payload)} bytes", f"expected at most {PING_MAX_BYTES} bytes"
            )
        self._pending.add_ping(payload)
        self._output += frames.Ping(payload).encode()

    def try_ping(self) -> None:
        """Show the server that this client is alive while it receives nothing: a PING whose PONG is read later.

        Never raises. Nothing is sent before WELCOME or after the end, nor while other bytes wait to be sent: those are
        as good a sign (section 3.5), and a server that takes none of them reads no PING either.
        """
        if self.state is ClientState.JOINED and not self._output:
            self._pending.add_ping(b"", unread=True)
            self._output += frames.Ping(b"").encode()

    def send_leave(self) -> None:
        """Give the seat back (section 3.4). The server sends what it still owes; then it closes."""
        self._check_sending(FrameType.LEAVE)
        self._output += frames.Leave().encode()
        self.state = ClientState.LEAVING
        self.seat.give_up()

    def _check_sending(self, type_: FrameType, payload: bytes = b"", tickets_size: int = 0) -> None:
        if type_ not in self.state.sends:
            raise StateError(f"sending {type_.name}", self.state.text)
        assert self.max_payload is not None  # known in every state that sends
        size = tickets_size + len(payload)
        if size > self.max_payload:
            raise PayloadTooBig(size, self.max_payload, tickets_size)

    def _send_automatic(self, frame: frames.Frame) -> None:
        if len(self._output) < _AUTOMATIC_OUTPUT_MAX_BYTES:
            self._output += frame.encode()

    # receiving

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the server, however they are chunked. Never raises; `b""` means nothing."""
        while data and self.state is ClientState.AWAITING:
            size = self._first_frame_rest()
            self._feed(data[:size])
            data = data[size:]
        if data and self.state is not ClientState.ENDED:
            self._feed(data)

    def receive_eof(self, reason: str = "the server closed the connection") -> None:
        """The stream ended, or failed for `reason`. A partial frame is dropped (section 3.4)."""
        match self.state:
            case ClientState.AWAITING:
                self._end(ConnectionLost(f"{reason} before WELCOME"))
            case ClientState.JOINED:
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
        received, breach = self._decoder.receive_data(data)
        try:
            for type_, body in received:
                frame = frames.decode(type_, body, SERVER_FRAMES)
                if type_ not in self.state.receives:
                    raise violation(f"{FrameType(type_).name} came while {self.state.text}")
                self._receive(frame)
                if self.state is ClientState.ENDED:
                    return  # the ERROR was the last frame that counts
            if breach is not None:
                raise breach
        except ProtocolViolation as error:
            self._end(error)

    def _receive(self, frame: frames.Frame) -> None:
        match frame:
            case frames.Execute():
                self._receive_execute(frame)
            case frames.Rank():
                if (promoted := self.seat.move(frame)) is not None:
                    self._events.append(promoted)
            case frames.Accepted():
                self._pending.accept(frame)
                self.seat.observe(frame.seq)
                self._events.append(CommandAccepted(*frame))
            case frames.Routed():
                status = self._pending.route(frame)
                self._events.append(ResultRouted(frame.id, frame.ticket, frame.rank, status, frame.payload))
            case frames.Done():
                self._pending.finish(frame)
                self._events.append(CommandDone(*frame))
            case frames.Refused():
                self._pending.refuse(frame)
                self._events.append(RefusalReceived(*frame))
            case frames.Members():
                self._pending.list_members(frame)
                self.seat.observe(frame.seq)
                self.seat.members = frame.total
                self._events.append(MembersPage(*frame))
            case frames.Stop():
                self._events.append(ExecutionCancelled(frame.seq))
            case frames.Ping():
                if self.state is ClientState.JOINED:
                    self._send_automatic(frames.Pong(frame.payload))
            case frames.Pong():
                self._pending.pong(frame.payload)
            case frames.Welcome():
                self._join(frame)
            case frames.ErrorFrame():
                self._events.append(ServerErrorReceived(*frame))
                kind = AuthError if frame.code == ErrorCode.AUTH else ServerError
                self._end(kind(frame.code, frame.text))
            case _:  # pragma: no cover - `decode` gives nothing else
                raise AssertionError(frame)

    def _join(self, frame: frames.Welcome) -> None:
        self.seat.take(frame)
        self.max_payload, self.ping_ms = frame.max_payload, frame.ping_ms
        self.state = ClientState.JOINED
        self._decoder.max_length = min(frame.max_payload, self._max_payload_limit) + FRAME_OVERHEAD
        self._events.append(Welcomed(*frame))

    def _receive_execute(self, frame: frames.Execute) -> None:
        command = self.seat.execute(frame)
        if isinstance(command, ExecuteRejected) and command.wants_result:
            text = f"rank {command.sender_rank} does not outrank {command.rank}"
            self.try_result(command.seq, Status.REJECTED, text.encode())
        if command is not None:
            self._events.append(command)

    def _end(self, error: RankmuxError | None) -> None:
        self.state = ClientState.ENDED
        self.seat.give_up()
        self._output.clear()
        self._events.append(Ended(error))
