"""The room's clock as the log tells it: of its entries, when each was stored, and how far its clock was ahead then."""

from __future__ import annotations

import base64
import time
from datetime import datetime

from rankmux.core.cluster.entries import unpack

from ..support.nats_nodes import Node

__all__ = ["RoomClock"]

_MOST = 500  # entries a reading


class RoomClock:
    """`clocks`: as of `logs.Logs`."""

    def __init__(self, stream: str) -> None:
        self.clocks: list[tuple[float, float]] = []
        self._stream = stream
        self._read = 0  # up to this entry
        self._wall_ms = (time.time() - time.monotonic()) * 1000

    def read(self, node: Node) -> None:
        """Look at what is new in the log: at each entry, or if they are many, at some of them."""
        with node.api() as api:
            state = api.request(f"$JS.API.STREAM.INFO.{self._stream}").get("state")
            if state is None:  # no leader now
                return
            first, last = max(self._read + 1, state["first_seq"]), state["last_seq"]
            for seq in range(first, last + 1, -(-(last + 1 - first) // _MOST) or 1):
                message = api.request(f"$JS.API.STREAM.MSG.GET.{self._stream}", {"seq": seq}).get("message")
                if message is None:
                    return
                stored = datetime.fromisoformat(message["time"]).timestamp() * 1000
                moment = stored - self._wall_ms
                self.clocks.append((moment, unpack(seq, base64.b64decode(message["data"])).clock_ms - moment))
                self._read = seq
