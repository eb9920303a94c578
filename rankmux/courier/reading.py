"""Reading of the log: one push consumer after the other, until one misses something, falls silent, or its log is gone.

It is not nats-py's ordered consumer, which is never made anew when heartbeats are missing. NATS goes on sending only
when its flow control is answered, and that is done when the server has taken all that came before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from secrets import token_hex

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from .connection import Connection, Unreachable
from .settings import CourierSettings
from .tracking import Arrival, Silence, Tracker, numbers_of

__all__ = ["Consumer"]

_HEARTBEAT_S = 0.5
_SILENCE_S = 2.0  # while NATS stores a burst of entries, each forced to the disk, it sends no heartbeats
_INACTIVE_S = 30
_TICK_S = 0.1
_NS = 1_000_000_000


class Consumer:
    """Reads from the entry `following` on; `deliver` returns when the server has taken an entry, or can take more."""

    def __init__(
        self,
        connection: Connection,
        settings: CourierSettings,
        following: int,
        deliver: Callable[[int, int, int, bytes], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._following = following
        self._deliver = deliver
        self._tracker = Tracker(following)
        self._begun = asyncio.Event()
        self._ended = asyncio.Event()
        self._subscription: Subscription | None = None
        self._busy = False
        self._hole = False
        self._clock = asyncio.get_running_loop().time
        self._silence = Silence(_SILENCE_S, _TICK_S, self._clock())

    async def make(self) -> None:
        """Have NATS send; nothing is delivered before `run`. Raises ApiError, Unreachable."""
        inbox, stream = self._connection.inbox(), self._settings.stream
        self._subscription = await self._connection.subscribe(inbox, self._take)
        name = f"rmx_{token_hex(8)}"
        config = {
            "name": name,
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._following,
            "ack_policy": "none",
            "replay_policy": "instant",
            "max_deliver": 1,
            "flow_control": True,
            "idle_heartbeat": int(_HEARTBEAT_S * _NS),
            "inactive_threshold": _INACTIVE_S * _NS,
            "mem_storage": True,
            "num_replicas": 1,
        }
        request = {"stream_name": stream, "config": config, "action": "create"}
        await self._connection.ask(f"CONSUMER.CREATE.{stream}.{name}", request)

    async def run(self, ended: asyncio.Event) -> bool:
        """Deliver until it has to be made anew, or `ended`; whether the log has a hole where it goes on."""
        assert self._subscription is not None
        self._silence.heard(self._clock())
        self._begun.set()
        while not (self._ended.is_set() or ended.is_set()) and self._connection.usable:
            await asyncio.sleep(_TICK_S)
            now = self._clock()
            if self._busy or self._subscription.pending_msgs:
                self._silence.heard(now)  # what there is to hear waits behind an entry
            if self._silence.look(now):
                break
        return self._hole

    async def close(self) -> None:
        """Read no more. NATS forgets the consumer by itself."""
        self._ended.set()
        self._begun.set()
        if self._subscription is not None:
            await self._connection.unsubscribe(self._subscription)

    async def _take(self, message: Msg) -> None:
        """A message of the consumer; in their order, one at a time."""
        await self._begun.wait()
        if self._ended.is_set():
            return
        self._silence.heard(self._clock())
        headers = message.headers
        if headers is not None and "Status" in headers and not message.data:
            await self._heed(message, headers)
            return
        numbers = numbers_of(message.reply)
        if numbers is None:
            return
        seq, sent, stored_ns, behind = numbers
        match self._tracker.arrived(seq, sent):
            case Arrival.NEXT:
                self._busy = True
                try:
                    await self._deliver(seq, stored_ns // 1_000_000, seq + behind, message.data)
                finally:
                    self._busy = False
                self._silence.heard(self._clock())
            case Arrival.OLD:
                pass
            case Arrival.LOST:
                self._ended.set()
            case Arrival.HOLE:
                self._hole = True
                self._ended.set()

    async def _heed(self, message: Msg, headers: dict[str, str]) -> None:
        """A status: a heartbeat, a request of the flow control, or the end."""
        if headers["Status"] != "100":
            self._ended.set()
            return
        try:
            if message.reply:
                await self._connection.publish(message.reply)
            elif stalled := headers.get("Nats-Consumer-Stalled"):
                await self._connection.publish(stalled)
        except Unreachable:
            self._ended.set()
        if self._tracker.is_behind(int(headers.get("Nats-Last-Consumer", 0))):
            self._ended.set()
