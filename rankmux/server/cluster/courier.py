"""The log in NATS JetStream, by way of a courier: a process of its own that speaks with NATS (`rankmux.courier`).

A courier that dies or hangs is replaced by another one, which reads on behind the last entry that was handed out. What
was not sent yet is dropped then, as it is while the courier takes no bytes: the writer sends again what it misses.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

from ...courier.frames import FrameDecoder, FrameError, Kind, Position, pack_frame, unpack_read, unpack_seq
from ...courier.settings import CourierSettings
from ...system.json_lines import tagged
from ...system.reactor import READABLE, WRITABLE
from .log import Failed, LogEvent, Opened, Read

__all__ = ["CourierLog"]

log = logging.getLogger("rankmux.server")

_OUT_MAX_BYTES = 16 << 20  # the writer's window twice, and a snapshot
_POLL_BYTES = 1 << 20
_POLL_ENTRIES = 512
_READ_BYTES = 1 << 16  # from 128 KiB on, each would be fresh memory of the kernel
_SILENT_S = 5.0  # it shows life every second
_LATE_S = 1.0
_WAIT_S = 0.1
_WAIT_MAX_S = 5.0
_SOUND_S = 10.0  # a courier that lived that long is not held against the next one

_FOREIGN = ("LISTEN_", "NOTIFY_SOCKET", "RANKMUX_", "WATCHDOG_")
"""Variables of the environment that are the server's alone: tokens above all, and the service manager's."""

_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(4 << 20)}
"""asyncio reads into 256 KiB each time; glibc would take them from the kernel and give them back for every entry."""


class CourierLog:
    """A `Log`. `watch(fd, interest)` has a descriptor watched, as `Reactor.watch` does.

    `restarts`  couriers that had to be replaced
    `dropped`   entries that were not sent, since the courier took no bytes
    `trouble`   what is wrong with the log; empty if nothing is
    """

    def __init__(self, settings: CourierSettings, watch: Callable[[int, int], None]) -> None:
        self.restarts = 0
        self.dropped = 0
        self.trouble = ""
        self.newest = self.stored = 0
        self.lacking = False
        self._settings = settings
        self._watch = watch
        self._process: subprocess.Popen[bytes] | None = None
        self._end: socket.socket | None = None
        self._decoder = FrameDecoder()
        self._out = bytearray()
        self._watched = 0  # for what its end is watched
        self._created = ""
        self._applied = 0
        self._wanted = False
        self._again_at = 0.0
        self._wait_s = _WAIT_S
        self._began = self._heard = self._polled = 0.0

    @property
    def pid(self) -> int | None:
        """The process id of the courier, None while there is none."""
        return None if self._process is None else self._process.pid

    def open(self, applied: int, now: float) -> None:
        """As of `Log`."""
        self._drop()
        self._applied, self._created, self._wanted = applied, "", True
        if self._settings.replicas == 1:
            text = "the log of the room has one copy: when its NATS server is lost, so is the room"
            log.warning(text, extra=tagged("log_one_copy"))
        self._start(now)

    def append(self, entry: bytes, *, first: bool = False) -> None:
        """As of `Log`."""
        if self._end is None or len(self._out) > _OUT_MAX_BYTES:
            self.dropped += 1
        else:
            self._send(pack_frame(Kind.FIRST if first else Kind.APPEND, entry))

    def store(self, seq: int, snapshot: bytes) -> None:
        """As of `Log`."""
        self.lacking = False
        if self._end is not None and len(self._out) <= _OUT_MAX_BYTES:
            self._send(pack_frame(Kind.STORE, seq, snapshot))

    def poll(self, now: float) -> list[LogEvent]:
        """As of `Log`."""
        if not self._wanted:
            return []
        late = now > self._polled + _LATE_S
        self._polled = now
        if self._end is None:
            if now >= self._again_at:
                self._start(now)
            return []
        events: list[LogEvent] = []
        try:
            if self._out:
                self._flush()
            over = self._receive(events, now)
        except (FrameError, OSError) as error:
            self._replace(str(error), now)
            return events
        if over:
            self._replace("it has ended", now)
        elif late:
            self._heard = now  # we did not look: this says nothing of the courier
        elif now >= self._heard + _SILENT_S:
            self._replace("it hangs", now)
        return events

    def patience(self, now: float) -> float:
        """As of `Log`."""
        if not self._wanted:
            return float("inf")
        if self._end is None:
            return max(0.0, self._again_at - now)
        if self._decoder.rest and self._decoder.has_frame:
            return 0.0
        return max(0.0, self._heard + _SILENT_S - now)

    def close(self) -> None:
        """As of `Log`."""
        self._wanted = False
        self._drop()

    # The process.

    def _start(self, now: float) -> None:
        try:
            self._launch()
        except OSError as error:  # no descriptors, no memory, no processes
            self._replace(str(error), now)
            return
        self._began = self._heard = self._polled = now
        self.trouble = ""  # this courier finds its own
        self._send(pack_frame(Kind.SETTINGS, self._settings.pack()))
        self._send(pack_frame(Kind.OPEN, Position(self._created, self._applied).pack()))

    def _launch(self) -> None:
        """Start the process, at the other end of a pair of sockets. Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                fd = theirs.fileno()
                self._process = subprocess.Popen(  # noqa: S603 - ourselves
                    [sys.executable, "-P", "-m", "rankmux.courier", str(fd)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(fd,),
                    env=_environment(os.environ),
                    start_new_session=True,
                )
            ours.setblocking(False)
            self._watch(ours.fileno(), READABLE)
            self._watched = READABLE
        except BaseException:
            ours.close()
            raise
        self._end = ours

    def _replace(self, why: str, now: float) -> None:
        """Give up this courier, and plan for another one."""
        lived = self._end is not None and now >= self._began + _SOUND_S
        status = self._drop()
        wait = _WAIT_S if lived else self._wait_s
        self._again_at, self._wait_s = now + wait, min(2 * wait, _WAIT_MAX_S)
        self.restarts += 1
        text = "the courier to the log is replaced: %s (status %s)"
        log.error(text, why, status, extra=tagged("courier_replaced", why=why, status=status))

    def _drop(self) -> int | None:
        """End the courier, if there is one; its exit status."""
        if self._end is not None:
            self._watch(self._end.fileno(), 0)
            self._end.close()
            self._end = None
        status = None
        if self._process is not None:
            self._process.kill()
            status = self._process.wait()  # SIGKILL leaves nothing to wait for
            self._process = None
        self._out.clear()
        self._decoder = FrameDecoder()
        return status

    # Bytes.

    def _send(self, frame: bytes) -> None:
        self._out += frame
        with suppress(OSError):  # `poll` meets it, too
            self._flush()

    def _flush(self) -> None:
        """Send what the socket takes. Raises OSError."""
        assert self._end is not None
        sent = 0
        with memoryview(self._out) as view, suppress(BlockingIOError):
            while sent < len(view):
                sent += self._end.send(view[sent:])
        del self._out[:sent]
        wanted = READABLE | WRITABLE if self._out else READABLE
        if wanted != self._watched:
            self._watched = wanted
            self._watch(self._end.fileno(), wanted)

    def _receive(self, events: list[LogEvent], now: float) -> bool:
        """Add the events that are here; whether the courier has closed its end. Raises FrameError, OSError."""
        assert self._end is not None
        taken, all_read = 0, False
        while True:
            found = self._decoder.frames(_POLL_ENTRIES - len(events)) if self._decoder.rest else ()
            for kind, body in found:
                if (event := self._take(kind, body)) is not None:
                    events.append(event)
            if all_read or taken >= _POLL_BYTES or len(events) >= _POLL_ENTRIES:
                return False
            try:
                data = self._end.recv(_READ_BYTES)
            except BlockingIOError:
                return False
            if not data:
                return True
            taken += len(data)
            all_read = len(data) < _READ_BYTES
            self._heard = now
            self._decoder.receive_data(data)

    def _take(self, kind: Kind, body: bytes) -> LogEvent | None:
        """What a frame says to the server. Raises FrameError."""
        match kind:
            case Kind.READ:
                seq, stored_ms, self.newest, entry = unpack_read(body)
                if seq != self._applied + 1:
                    raise FrameError(f"it gave entry {seq} behind entry {self._applied}")
                self._applied = seq
                return Read(seq, entry, stored_ms)
            case Kind.OPENED:
                return self._opened(body)
            case Kind.FAILED:
                return Failed(body.decode())
            case Kind.STORED:
                self.stored = unpack_seq(body)[0]
            case Kind.LACKING:
                self.lacking = True
            case Kind.TROUBLE:
                self.trouble = body.decode()
                text = "trouble with the log: %s"
                log.warning(text, self.trouble, extra=tagged("log_stuck", error=self.trouble))
            case Kind.REACHED:
                self.trouble = ""
                where = body.decode()
                log.info("the log can be used, at %s", where, extra=tagged("log_moves", where=where))
            case _:  # a sign of life
                pass
        return None

    def _opened(self, body: bytes) -> Opened:
        position, data = Position.unpack(body)
        self._created, self.newest = position.created, position.last
        self._applied = max(self._applied, position.snapshot_seq)
        return Opened(
            position.created,
            position.last,
            position.entry_max,
            position.snapshot_seq,
            data if position.snapshot_seq else b"",
            position.at_ms,
            b"" if position.snapshot_seq else data,
        )


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The courier's variables: it imports what we would, and is told nothing that is not for it."""
    theirs = {name: value for name, value in ours.items() if not name.startswith(_FOREIGN)}
    theirs["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    return _MALLOC | theirs
