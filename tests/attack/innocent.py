"""The innocent member of an attack, whose PINGs measure the server's delay, and a control measurement of the machine.

Both run in threads of the test's process, which does nothing else meanwhile, and with high priority where that is
allowed: they must measure the server's delay, not their own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..faults.rig import Rig
from ..protocol.frames import Ping, Pong
from ..protocol.peer import ClosedError, Peer, SilenceError

EVERY_S = 0.03
LEAST_S = 5.0  # of measuring
GRACE_S = 8.0  # for the PONGs still missing at the end
P99_S = 0.1
STALL_S = 0.03  # the control's p99 over this: the machine itself was busy
CORE_SHARE = 0.85  # the server had a core for less than this part of the time that it needed one: the same


def percentile(values: list[float], part: float) -> float:
    """The quantile of `values` at this fraction."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


@dataclass
class Reading:
    """The figures of one scene, in seconds.

    `control_p99` is how late a thread wakes up that only sleeps, `core_share` the part of the time in which the server
    ran of that in which it could have, `wrong` describes any other failure.
    """

    p50: float
    p99: float
    worst: float
    pings: int
    control_p99: float
    core_share: float
    wrong: list[str] = field(default_factory=list)
    notes: dict[str, object] = field(default_factory=dict)

    @property
    def stalled(self) -> bool:
        """Whether the machine was slow, and not the server."""
        return self.control_p99 > STALL_S or self.core_share < CORE_SHARE

    def grace(self, seconds: float) -> float:
        """These seconds, divided by the share of a core that the server had."""
        return seconds / max(self.core_share, 0.1)

    def keeps(self, limit_s: float) -> bool:
        """Whether the p99 is within the limit, as if the server had had a core, and this process had woken in time."""
        return self.p99 * self.core_share <= limit_s + self.control_p99

    def __str__(self) -> str:
        text = (
            f"p50 {self.p50 * 1e3:.1f} ms, p99 {self.p99 * 1e3:.1f} ms, worst {self.worst * 1e3:.0f} ms "
            f"of {self.pings} PINGs; control p99 {self.control_p99 * 1e3:.1f} ms, "
            f"the server had {self.core_share:.0%} of a core"
        )
        notes = [f"{key} {value}" for key, value in self.notes.items()]
        return "; ".join([text, *notes, *[f"WRONG: {each}" for each in self.wrong]])


def favoured() -> None:
    """Raise the priority of the calling thread or process, if permitted."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -10)


class Innocent:
    """A member that sends a PING every EVERY_S whatever happens, and records the time of each PONG.

    A context manager: `reading` is there after the block.
    """

    def __init__(self, server: Rig, peer: Peer) -> None:
        self.reading: Reading | None = None
        self._server = server
        self._peer = peer
        self._latencies: list[float] = []
        self._late: list[float] = []
        self._wrong: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ping), threading.Thread(target=self._control)]

    def __enter__(self) -> Innocent:
        self._ran, self._waited = scheduled(self._server.pid)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        share = 1.0
        with suppress(OSError):
            ran, waited = scheduled(self._server.pid)
            ran, waited = ran - self._ran, waited - self._waited
            share = ran / max(ran + waited, 1e-9)
        self._stop.set()
        for thread in self._threads:
            thread.join()
        values = self._latencies or [GRACE_S]
        self.reading = Reading(
            percentile(values, 0.5),
            percentile(values, 0.99),
            max(values),
            len(self._latencies),
            percentile(self._late or [0.0], 0.99),
            share,
            self._wrong,
        )

    def result(self) -> Reading:
        """The figures, after the block."""
        assert self.reading is not None
        return self.reading

    def _ping(self) -> None:
        favoured()
        open_since: dict[bytes, float] = {}
        number, due, until = 0, time.monotonic(), 0.0
        try:
            while not self._stop.is_set() or (open_since and time.monotonic() < until):
                now = time.monotonic()
                if self._stop.is_set():
                    due = now + EVERY_S
                else:
                    until = now + GRACE_S
                if now >= due:
                    opaque = number.to_bytes(4, "big")
                    open_since[opaque] = now
                    self._peer.send(Ping(opaque))
                    number, due = number + 1, due + EVERY_S
                with suppress(SilenceError):
                    frame = self._peer.recv(max(0.0, due - time.monotonic()))
                    if isinstance(frame, Pong):
                        self._latencies.append(time.monotonic() - open_since.pop(frame.opaque))
        except (ClosedError, OSError) as error:
            self._wrong.append(f"the innocent member lost its connection: {error}")
        now = time.monotonic()
        self._latencies += [now - at for at in open_since.values()]

    def _control(self) -> None:
        favoured()
        while not self._stop.is_set():
            due = time.monotonic() + 0.01
            time.sleep(0.01)
            self._late.append(time.monotonic() - due)


@contextmanager
def measured(server: Rig, peer: Peer) -> Iterator[Innocent]:
    """An innocent member during the block, and for LEAST_S at least."""
    with Innocent(server, peer) as innocent:
        began = time.monotonic()
        yield innocent
        time.sleep(max(0.0, began + LEAST_S - time.monotonic()))


def scheduled(pid: int) -> tuple[float, float]:
    """The time that the process ran, and the time that it waited for a core, in seconds."""
    ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(ran) / 1e9, int(waited) / 1e9


def judged(scene: Callable[[], Reading], limit_s: float = P99_S) -> Reading:
    """The reading of a scene that passes. It is retried once if it fails while the machine itself was stalled."""

    def complaints(reading: Reading) -> str:
        late = f"the innocent member waits for its PONGs: p99 over {limit_s * 1e3:.0f} ms"
        return "; ".join(reading.wrong if reading.keeps(limit_s) else [late, *reading.wrong])

    reading = scene()
    if complaints(reading) and reading.stalled:
        reading = scene()
    assert not complaints(reading), f"{complaints(reading)} ({reading})"
    return reading
