"""A scene: a server, an attack by another process, the innocent member meanwhile, and a stop under attack."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

from ..faults.rig import Rig
from ..protocol.peer import ClosedError, Peer
from ..protocol.process import ROOT
from .innocent import Innocent, Reading, favoured

FULL = bool(os.environ.get("RANKMUX_ATTACK_FULL"))
SECONDS = 10.0 if FULL else 5.0
DRAIN_S = 1.0
GRACE_S = 1.5  # the allowed delay of a deadline, and of a stop
SETUP_S = 60.0
FLAGS = ("--shutdown-drain-s", str(DRAIN_S))


def behind() -> None:
    """Restrict the attackers to one core, at a lower priority than all other processes."""
    os.nice(10)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[-1:])


class Attack:
    """A process of attackers. A context manager: it is ended in any case."""

    def __init__(self, server: Rig, attack: str, **options: object) -> None:
        command = [sys.executable, "-m", "tests.attack", attack, server.host, str(server.port)]
        self.report: dict[str, object] = {}
        self._heard = b""
        self._process = subprocess.Popen(
            [*command, json.dumps(options)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=behind,  # noqa: PLW1509 - priority of the child, nothing else
        )
        try:
            self._expect(b"ready\n")
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Attack:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    def go(self) -> None:
        """Begin; returns when the first bytes are sent."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()
        self._expect(b"gone\n")

    def finished(self, seconds: float) -> bool:
        """Whether the attackers receive all expected frames within that time."""
        return self._line(seconds) == b"finished\n"

    def end(self) -> dict[str, object]:
        """End it; returns its figures."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        while (line := self._line(SETUP_S)) == b"finished\n":
            pass
        assert line, "nothing is heard from the attackers"
        self.report = json.loads(line)
        assert self._process.wait(SETUP_S) == 0
        self._process.stdout.close()
        return self.report

    def number(self, name: str) -> float:
        """One of its figures."""
        value = self.report[name]
        assert isinstance(value, int | float)
        return value

    def kill(self) -> None:
        """End it without figures."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _expect(self, line: bytes) -> None:
        found = self._line(SETUP_S)
        assert found == line, f"the attackers say {found!r}, not {line!r}"

    def _line(self, seconds: float) -> bytes:
        """The next line that arrives within that time; empty if there is none."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._heard:
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._process.stdout], [], [], left)
            data = os.read(self._process.stdout.fileno(), 65_536) if ready else b""
            if not data:
                return b""
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        return line + b"\n"


class Silent:
    """A connection without HELLO, which the server closes at its deadline."""

    def __init__(self, server: Rig) -> None:
        self._closed_after: float | None = None
        self._sock = server.plain(source="127.0.9.9")
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def age(self) -> float:
        """The seconds since it was made."""
        return time.monotonic() - self._began

    def end(self) -> float | None:
        """Stop watching; the seconds until the server closed it, None if it did not."""
        closed_after = self._closed_after
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._sock.close()
        return closed_after

    def _watch(self) -> None:
        favoured()
        self._sock.settimeout(SETUP_S)
        with suppress(OSError):
            self._sock.recv(1000)  # ERROR TIMEOUT comes first, and over TLS the end at once
        self._closed_after = time.monotonic() - self._began


def under_attack(server: Rig, innocent: Peer, attack: Attack, silent: Silent, limit_s: float) -> Reading:
    """The innocent member's reading during `attack`; `silent` must be closed within `limit_s` and a grace."""
    with Innocent(server, innocent) as watched:
        began = time.monotonic()
        attack.go()
        time.sleep(max(0.0, began + SECONDS - time.monotonic()))
    left = silent.age()
    closed_after = silent.end()
    reading = watched.result()
    reading.notes["no HELLO: closed after"] = (
        f"{closed_after:.1f} s" if closed_after else f"over {left:.1f} s"
    )
    if (closed_after or left) > limit_s + reading.grace(GRACE_S):
        reading.wrong.append(f"a connection without HELLO was not closed within {limit_s + GRACE_S:g} s")
    return reading


def stop_under_attack(server: Rig, reading: Reading, attack: Attack) -> None:
    """Check the ranks and the log, then send SIGTERM during the attack: the server must end within its drain."""
    try:
        server.check()
        server.check_ranks()
    except (AssertionError, ClosedError, OSError) as error:
        reading.wrong.append(f"the server under attack: {error!s:.200}")
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    server.wait()
    took = time.monotonic() - began
    reading.notes["stopped after"] = f"{took:.1f} s"
    if took > DRAIN_S + reading.grace(GRACE_S):
        reading.wrong.append(f"the server did not stop within {DRAIN_S + GRACE_S:g} s")
    reading.notes["attack"] = summary(attack.end())


def summary(report: dict[str, object]) -> str:
    """The figures of an attack in a few words."""
    words = [f"{key} {value:.4g}" for key, value in report.items() if isinstance(value, int | float)]
    closed = report.get("closed_after")
    if isinstance(closed, list):
        words.append(f"closed {len(closed)}")
    return ", ".join(words)
