"""The sending half of a client session: requests and results in, bytes out (PROTOCOL sections 2 to 10).

A request that the state does not allow, or whose arguments are wrong, raises and changes nothing. It knows no socket
and no clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ArgumentError, PayloadTooBig, StateError
from ..wire import frames
from ..wire.codes import (
    CLIENT_STATUSES,
    DEFAULT_MAX_PAYLOAD,
    FRAME_OVERHEAD,
    NAME_MAX_BYTES,
    PING_MAX_BYTES,
    TOKEN_MAX_BYTES,
    U32_MAX,
    CommandFlag,
    FrameType,
    HelloFlag,
    Status,
    Target,
)
from ..wire.layouts import COMMAND, HEAD, ROUTED, TYPE_BYTES
from .decoder import FrameDecoder
from .events import ClientEvent
from .keep import KeptSeat
from .pending import Pending
from .seat import ClientSeat
from .states import ClientState

__all__ = ["Requests"]

# Integers: operations of flags make objects of Python code each time.
_COMMAND, _RESULTS = int(FrameType.COMMAND), int(CommandFlag.RESULTS)
_QUIET, _TIED = int(CommandFlag.QUIET), int(CommandFlag.TIED)
_head = HEAD.pack

_RECEIVABLE_PAYLOAD_MAX = 16 * 1024 * 1024  # the largest max_payload that a rankmux server can be set to
_PENDING_MAX = 65_536  # far over what a server allows (1024); bounds our memory if it never answers
# PONGs and REJECTEDs are dropped above it: a server that does not read needs none.
_AUTOMATIC_OUTPUT_MAX_BYTES = 256 * 1024


class Requests:
    """The sending half of `ClientSession`, and what both halves know."""

    def __init__(
        self,
        name: str = "",
        token: bytes = b"",
        *,
        observe: bool = False,
        watch: bool = False,
        kept: KeptSeat | None = None,
        max_payload_limit: int = _RECEIVABLE_PAYLOAD_MAX,
        pending_limit: int = _PENDING_MAX,
    ) -> None:
        if not isinstance(name, str) or not frames.valid_name(name):
            raise ArgumentError("name", name, f"expected at most {NAME_MAX_BYTES} bytes of printable text")
        if len(token) > TOKEN_MAX_BYTES:
            raise ArgumentError("token", f"{len(token)} bytes", f"expected at most {TOKEN_MAX_BYTES} bytes")
        self.state = ClientState.AWAITING
        self.observes = observe
        self.watches = watch
        self.kept = kept
        self.generation = 0  # of the kept seat that this connection has
        self.seat = ClientSeat()
        self.max_payload: int | None = None
        self.ping_ms: int | None = None
        self._max_payload_limit = max_payload_limit
        self._pending = Pending(pending_limit)
        self._decoder = FrameDecoder(DEFAULT_MAX_PAYLOAD + FRAME_OVERHEAD)
        self._first_length = bytearray()
        self._events: list[ClientEvent] = []
        self._baton_due = False  # the last frame gave rank 0
        flags = HelloFlag.OBSERVE * observe | HelloFlag.WATCH * watch
        hello = frames.Hello(name, token, flags=flags, keep=None if kept is None else kept.hello())
        self._output = bytearray(hello.encode())

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

    def owed_size(self, id_: int) -> int:
        """The least number of bytes that are still to come before every executor of the command `id_` has ended.

        0 where it is not known, as before the server has dispatched it.
        """
        return max(0, self._pending.owed(id_) * (HEAD.size + ROUTED.size) - self._decoder.pending)

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
        named = b"".join(ticket.to_bytes(8) for ticket in tickets) if tickets else b""
        self._check_sending(FrameType.COMMAND, payload, len(named))
        if not 0 <= arg <= U32_MAX or (arg and target is not Target.ONE):
            raise ArgumentError("arg", arg, f"expected a rank for ONE and 0 for {target.name}")
        if bool(tickets) is not (target is Target.SET):
            raise ArgumentError("tickets", tickets, "expected some for SET, and none for another target")
        if not 0 <= ttl_ms <= U32_MAX:
            raise ArgumentError("ttl_ms", ttl_ms, f"expected 0 to {U32_MAX} milliseconds")
        flags = _RESULTS * results | _QUIET * quiet | _TIED * tied
        id_ = self._pending.add_command(results, quiet)
        size = COMMAND.size + len(named) + len(payload) + TYPE_BYTES
        fields = COMMAND.pack(id_, target, arg or len(tickets), flags, ttl_ms)
        self._output += b"".join((_head(size, _COMMAND), fields, named, payload))
        return id_

    def send_quietly(
        self,
        payloads: Sequence[bytes],
        target: Target = Target.ALL,
        arg: int = 0,
        *,
        tickets: Sequence[int] = (),
        ttl_ms: int = 0,
    ) -> None:
        """Have each of `payloads` executed by `target`, in order, as QUIET commands without results (section 5).

        Arguments are those of `send_command`, and so are the errors; none is sent then.
        """
        named = b"".join(ticket.to_bytes(8) for ticket in tickets)
        self._check_sending(FrameType.COMMAND, max(payloads, key=len, default=b""), len(named))
        arg = arg or len(tickets)
        fixed, pack = COMMAND.size + len(named) + TYPE_BYTES, COMMAND.pack
        next_id = self._pending.add_silent
        parts: list[bytes] = []
        for payload in payloads:
            parts += (
                _head(fixed + len(payload), _COMMAND),
                pack(next_id(), target, arg, _QUIET, ttl_ms),
                named,
                payload,
            )
        self._output += b"".join(parts)

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
        self._keep_result(seq, status, payload)

    def try_result(self, seq: int, status: Status, payload: bytes = b"") -> None:
        """Answer the EXECUTE `seq` if that is possible; never raises, and cuts a payload that is too long.

        For answers that nobody here waits for: nothing is sent after the end, or to a server that does not read.
        """
        if self.state is ClientState.JOINED and self.max_payload is not None:
            payload = payload[: self.max_payload]
            if self._send_automatic(frames.Result(seq, status, payload)):
                self._keep_result(seq, status, payload)

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
        self._ping(payload)

    def try_ping(self) -> None:
        """Show the server that this client is alive while it receives nothing: a PING whose PONG is read later.

        Never raises. Nothing is sent before WELCOME or after the end, nor while other bytes wait to be sent: those are
        as good a sign (section 3.5), and a server that takes none of them reads no PING either.
        """
        if self.state.open and not self._output:
            self._pending.add_ping(b"", unread=True)
            self._ping(b"")

    def send_yield(self) -> int:
        """Step back to the last place (section 10); returns the id of the answer. Raises StateError."""
        self._check_sending(FrameType.YIELD)
        id_ = self._pending.add_yield()
        self._output += frames.Yield(id_).encode()
        return id_

    def send_baton(self, payload: bytes) -> int:
        """Leave a note for the next rank 0 (section 10); returns the id of the answer.

        Raises StateError or PayloadTooBig.
        """
        self._check_sending(FrameType.SET_BATON, payload)
        id_ = self._pending.add_baton(payload)
        self._output += frames.SetBaton(id_, payload).encode()
        return id_

    def send_leave(self) -> None:
        """Give the seat back (section 3.4). The server sends what it still owes; then it closes."""
        self._check_sending(FrameType.LEAVE)
        self._output += frames.Leave().encode()
        self.state = ClientState.LEAVING
        self.seat.give_up()
        if self.kept is not None:
            self.kept.give_up()

    def _check_sending(self, type_: FrameType, payload: bytes = b"", tickets_size: int = 0) -> None:
        if type_ not in self.state.sends:
            raise StateError(f"sending {type_.name}", self.state.text)
        assert self.max_payload is not None  # known in every state that sends
        size = tickets_size + len(payload)
        if size > self.max_payload:
            raise PayloadTooBig(size, self.max_payload, tickets_size)

    def _send_automatic(self, frame: frames.Frame) -> bool:
        if len(self._output) >= _AUTOMATIC_OUTPUT_MAX_BYTES:
            return False
        self._output += frame.encode()
        return True

    def _ping(self, payload: bytes) -> None:
        self._output += frames.Ping(payload).encode()
        if self.kept is not None:
            self.kept.ping_sent()

    def _keep_result(self, seq: int, status: Status, payload: bytes) -> None:
        if self.kept is not None and self.kept.keep_result(seq, status, payload):
            self._pending.add_ping(b"", unread=True)
            self._ping(b"")
