"""A client's side of one connection, without I/O: bytes in -> events, sends -> bytes (PROTOCOL sections 2 to 7).

Its life is a table of states; a step that the table does not allow raises StateError and changes nothing. What the
server does wrong never raises: the session ends, with an `Ended` event that says why. It knows no socket, no clock and
no thread; the drivers (`client.py`, `aio.py`, the command line) bring those.
"""

from __future__ import annotations

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
from ..wire.frames import (
    Accepted,
    Command,
    Done,
    ErrorFrame,
    Execute,
    Frame,
    Hello,
    Leave,
    Members,
    Ping,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
    Welcome,
    Who,
    decode,
    valid_name,
)
from .decoder import FrameDecoder
from .events import (
    CommandAccepted,
    CommandDone,
    Ended,
    Event,
    ExecuteRejected,
    MembersPage,
    PingReceived,
    PongReceived,
    RefusalReceived,
    ResultRouted,
    ServerErrorReceived,
)
from .pending import Waiting
from .seat import Standing
from .states import RECEIVES, SENDS, State

__all__ = ["ClientSession", "State"]

_RECEIVABLE_PAYLOAD_MAX = 16 * 1024 * 1024  # the largest max_payload a rankmux server can be set to
_WAITING_MAX = 65_536  # far over what a server allows (1024); bounds our memory if it never answers
_AUTOMATIC_OUTPUT_MAX_BYTES = (
    256 * 1024
)  # PONGs and REJECTEDs are dropped above it: who does not read needs none


class ClientSession(Standing):
    """One connection, from HELLO to its end.

    Feed `receive_data` and `receive_eof`; read `events()`; write what `data_to_send()` gives to the peer. Making a
    session puts its HELLO into the output. `max_payload_limit` (bytes) bounds what is received, whatever a server
    announces; before WELCOME the bound is that of the protocol's default max_payload. `waiting_limit` bounds the
    commands that wait for answers.

    `rank`, `ticket`, `members`, `capacity`, `instance`, `seq`, `max_payload` (bytes) and `ping_ms` are None before
    WELCOME; `rank` is None again after LEAVE and after every loss. `members` is what the server told last: it tells
    of joins only in answers to WHO.
    """

    def __init__(
        self,
        name: str = "",
        token: bytes = b"",
        *,
        max_payload_limit: int = _RECEIVABLE_PAYLOAD_MAX,
        waiting_limit: int = _WAITING_MAX,
    ) -> None:
        if not isinstance(name, str) or not valid_name(name):
            raise ArgumentError(
                "name", name, f"at most {NAME_MAX_BYTES} bytes of printable text are expected"
            )
        if len(token) > TOKEN_MAX_BYTES:
            raise ArgumentError(
                "token", f"{len(token)} bytes", f"at most {TOKEN_MAX_BYTES} bytes are expected"
            )
        super().__init__()
        self.name = name
        self._state = State.AWAITING
        self._max_payload_limit = max_payload_limit
        self._waiting = Waiting(waiting_limit)
        self._decoder = FrameDecoder(DEFAULT_MAX_PAYLOAD + FRAME_OVERHEAD)
        self._first_length = bytearray()
        self._events: list[Event] = []
        self._output = bytearray(Hello(name, token).encode())

    # what drivers read

    @property
    def state(self) -> State:
        """Where the session's life stands."""
        return self._state

    @property
    def waiting_commands(self) -> tuple[int, ...]:
        """The ids of our commands that are not settled yet, the oldest first."""
        return self._waiting.commands

    @property
    def output_size(self) -> int:
        """How many bytes `data_to_send` would give."""
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

    def events(self) -> list[Event]:
        """Take what has happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    # sending

    def _may_send(self, type_: FrameType) -> None:
        if type_ not in SENDS[self._state]:
            raise StateError(f"sending {type_.name}", self._state.value)

    def _fits(self, payload: bytes) -> None:
        assert self.max_payload is not None  # known in every state that sends
        if len(payload) > self.max_payload:
            raise PayloadTooBig(len(payload), self.max_payload)

    def send_command(
        self,
        payload: bytes,
        target: Target = Target.ALL,
        arg: int = 0,
        *,
        results: bool = False,
        quiet: bool = False,
        ttl_ms: int = 0,
    ) -> int:
        """Have `payload` executed by `target` (section 5); returns the id under which its answers come.

        `arg` is the rank for ONE, else 0. `ttl_ms` 0 is no limit, or the server's default with `results`. Raises
        StateError, PayloadTooBig, or ArgumentError; nothing is sent then.
        """
        self._may_send(FrameType.COMMAND)
        self._fits(payload)
        if not 0 <= arg <= U32_MAX or (arg and target is not Target.ONE):
            raise ArgumentError("arg", arg, f"a rank for ONE and 0 for {target.name} is expected")
        if not 0 <= ttl_ms <= U32_MAX:
            raise ArgumentError("ttl_ms", ttl_ms, f"0 to {U32_MAX} milliseconds are expected")
        flags = (CommandFlag.RESULTS if results else 0) | (CommandFlag.QUIET if quiet else 0)
        id_ = self._waiting.add_command(results, quiet)
        self._output += Command(id_, target, arg, flags, ttl_ms, payload).encode()
        return id_

    def send_result(self, seq: int, status: Status, payload: bytes = b"") -> None:
        """Answer the EXECUTE `seq` (section 6). Raises StateError, PayloadTooBig or ArgumentError."""
        self._may_send(FrameType.RESULT)
        self._fits(payload)
        if status not in CLIENT_STATUSES:
            raise ArgumentError("status", status, "OK, FAILED, REJECTED or PART is expected")
        self._output += Result(seq, status, payload).encode()

    def try_result(self, seq: int, status: Status, payload: bytes = b"") -> None:
        """Answer the EXECUTE `seq` when that is possible; never raises, and cuts what is too long.

        For answers that nobody here waits for: nothing is sent after the end, or to a server that does not read.
        """
        if self._state is State.JOINED and self.max_payload is not None:
            self._automatic(Result(seq, status, payload[: self.max_payload]))

    def send_who(self, first_rank: int = 0, count: int = U32_MAX) -> int:
        """Ask for `count` members from `first_rank` on; returns the id of the `MembersPage` that answers."""
        self._may_send(FrameType.WHO)
        for argument, value in (("first_rank", first_rank), ("count", count)):
            if not 0 <= value <= U32_MAX:
                raise ArgumentError(argument, value, f"0 to {U32_MAX} is expected")
        id_ = self._waiting.add_who(count)
        self._output += Who(id_, first_rank, count).encode()
        return id_

    def send_ping(self, payload: bytes = b"") -> None:
        """Ask whether the server lives (section 3.5); `PongReceived` answers."""
        self._may_send(FrameType.PING)
        if len(payload) > PING_MAX_BYTES:
            raise ArgumentError(
                "payload", f"{len(payload)} bytes", f"at most {PING_MAX_BYTES} bytes are expected"
            )
        self._waiting.add_ping(payload)
        self._output += Ping(payload).encode()

    def try_ping(self) -> None:
        """Show the server that we live while nothing is received: a PING whose PONG is read when it is (section 3.5).

        Never raises. Nothing is sent before WELCOME or after the end, nor while other bytes wait to be sent: those are
        as good a sign, and a server that takes none of them listens to nobody.
        """
        if self._state is State.JOINED and not self._output:
            self._waiting.add_ping(b"", patient=True)
            self._output += Ping(b"").encode()

    def send_leave(self) -> None:
        """Give the seat back (section 3.4). What the server still owes comes in; then it closes."""
        self._may_send(FrameType.LEAVE)
        self._output += Leave().encode()
        self._state = State.LEAVING
        self.rank = None

    # receiving

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the server, however they are chunked. Never raises; `b""` means nothing."""
        while data and self._state is State.AWAITING:
            data = data[self._feed(data[: self._first_frame_rest()]) :]
        if data and self._state is not State.ENDED:
            self._feed(data)

    def receive_eof(self, reason: str = "the server closed the connection") -> None:
        """The stream ended, or failed for `reason`. A partial frame is dropped (section 3.4)."""
        if self._state is State.LEAVING:
            self._end(None)
        elif self._state is State.AWAITING:
            self._end(ConnectionLost(f"{reason} before it said WELCOME"))
        elif self._state is State.JOINED:
            self._end(ConnectionLost(reason))

    def _first_frame_rest(self) -> int:
        # Frames behind WELCOME may be longer (its max_payload says), so none of their bytes is cut before it is read.
        if len(self._first_length) < 4:
            return 4 - len(self._first_length)
        return 4 + int.from_bytes(self._first_length) - self._decoder.pending

    def _feed(self, data: bytes) -> int:
        if len(self._first_length) < 4:
            self._first_length += data[:4]
        frames, violation = self._decoder.receive_data(data)
        try:
            for type_, body in frames:
                self._receive_frame(type_, body)
                if self._state is State.ENDED:
                    return len(data)  # the ERROR was the last frame that counts
            if violation is not None:
                raise violation
        except ProtocolViolation as error:
            self._end(error)
        return len(data)

    def _receive_frame(self, type_: int, body: bytes) -> None:
        frame = decode(type_, body, SERVER_FRAMES)
        if type_ not in RECEIVES[self._state]:
            raise violation(f"{FrameType(type_).name} came while {self._state.value}")
        self._receive(frame)

    def _receive(self, frame: Frame) -> None:
        match frame:
            case Execute():
                self._receive_execute(frame)
            case Rank():
                if (promoted := self._moved(frame)) is not None:
                    self._events.append(promoted)
            case Accepted():
                self._waiting.accepted(frame)
                self._saw(frame.seq)
                self._events.append(CommandAccepted(*frame))
            case Routed():
                status = self._waiting.routed(frame)
                self._events.append(ResultRouted(frame.id, frame.ticket, frame.rank, status, frame.payload))
            case Done():
                self._waiting.done(frame)
                self._events.append(CommandDone(*frame))
            case Refused():
                self._waiting.refused(frame)
                self._events.append(RefusalReceived(*frame))
            case Members():
                self._waiting.members(frame)
                self._saw(frame.seq)
                self.members = frame.total
                self._events.append(MembersPage(*frame))
            case Ping():
                if self._state is State.JOINED:
                    self._automatic(Pong(frame.payload))
                self._events.append(PingReceived(frame.payload))
            case Pong():
                self._waiting.pong(frame.payload)
                self._events.append(PongReceived(frame.payload))
            case Welcome():
                self._receive_welcome(frame)
            case ErrorFrame():
                self._events.append(ServerErrorReceived(*frame))
                kind = AuthError if frame.code == ErrorCode.AUTH else ServerError
                self._end(kind(frame.code, frame.text))
            case _:  # pragma: no cover - `decode` gives nothing else
                raise AssertionError(frame)

    def _receive_welcome(self, frame: Welcome) -> None:
        welcomed = self._welcomed(frame)
        self._state = State.JOINED
        self._decoder.max_length = min(frame.max_payload, self._max_payload_limit) + FRAME_OVERHEAD
        self._events.append(welcomed)

    def _receive_execute(self, frame: Execute) -> None:
        command = self._commanded(frame)
        if isinstance(command, ExecuteRejected) and command.wants_result:
            text = f"rank {command.sender_rank} does not outrank {command.rank}"
            self.try_result(command.seq, Status.REJECTED, text.encode())
        if command is not None:
            self._events.append(command)

    def _automatic(self, frame: Frame) -> None:
        if len(self._output) < _AUTOMATIC_OUTPUT_MAX_BYTES:
            self._output += frame.encode()

    def _end(self, error: RankmuxError | None) -> None:
        self._state = State.ENDED
        self.rank = None
        self._output.clear()
        self._events.append(Ended(error))
