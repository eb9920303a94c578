"""A server process under test, with the properties that hold after every fault: U1 to U6.

The server is one of `tests.protocol.process`, over plain TCP, TLS or mTLS, with any selector, under strace or with
limits in some tests. Its closes are read from the summary in its log.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..protocol.frames import Execute, Members, Who
from ..protocol.peer import DEADLINE_S, Peer
from ..protocol.process import ROOT, Server, environment, has_extension
from ..support.patience import until
from .allocations import ASKED, InUse
from .certificates import Certificates
from .tried_peers import TlsPeer, UnixPeer

BACK_S = 5.0  # U4: within this time, everything is back to its previous state
RSS_SLACK = 5 << 20
IDLE_S = 0.3
IDLE_CPU_S = 0.02
CLOSED = re.compile(r"closed: (\d+) of (\d+) connections(?:: (.*))?")
STOPPED = re.compile(r"stopped(?: cleanly|: (\d+) bytes for (\d+) connections were not delivered)$")


def uses_extension() -> bool:
    """The servers' twin: that of this run, chosen by RANKMUX_EXTENSION."""
    return os.environ.get("RANKMUX_EXTENSION", "auto") != "0" and has_extension()


EXTENSION = uses_extension()


@dataclass(frozen=True)
class Ground:
    """A server's ground: `plain`, `tls` or `mtls`; `epoll`, `poll` or `select`; one of the twins."""

    transport: str = "plain"
    selector: str = "epoll"
    extension: bool = EXTENSION

    def __str__(self) -> str:
        return f"{self.transport}-{self.selector}-{'extension' if self.extension else 'pure'}"


class Rig(Server):
    """A server process under test."""

    def __init__(
        self,
        seats: int,
        *flags: str,
        ground: Ground = Ground(),
        certificates: Certificates | None = None,
        extra: dict[str, str] | None = None,
        wrap: Iterable[str] = (),
        preexec: Callable[[], None] | None = None,
        token: bytes = b"",
        module: str = "rankmux",
    ) -> None:
        """`module` is run as `python -m MODULE server ...`; `allocations` is required by `in_use`."""
        self.seats = seats
        self.ground = ground
        self.certificates = certificates
        self.token = token
        self.unix = flags[flags.index("--unix") + 1] if "--unix" in flags else ""
        self.tracebacks_wanted = False
        self.exit_code: int | None = 0
        self.checks_closes = True
        self.rss_slack = RSS_SLACK
        self._told_to_end = False
        self._peers: list[Peer] = []
        self._secrets: list[bytes] = []
        self._paused = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        command = [*wrap, sys.executable, "-m", module, "server", "-n", str(seats)]
        self._command = [*command, *self._transport(), *flags]
        self._environment = {
            **environment(ground.extension),
            "RANKMUX_SELECTOR": ground.selector,
            **(extra or {}),
        }
        self._preexec = preexec
        self._start(0)
        try:
            self.host, self.port = self._listening()
            if list(wrap):
                self.pid = self._child()
            self._warm_up()
        except BaseException:
            self._process.kill()
            self._process.wait()
            self.exit_code = None
            self.stop()
            raise

    def _start(self, port: int) -> None:
        self._process = subprocess.Popen(
            [*self._command, "--port", str(port)],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            preexec_fn=self._preexec,  # noqa: PLW1509 - it only sets limits
        )
        self.pid = self._process.pid

    def restart(self) -> None:
        """Stop it cleanly, check its counts, and start it again on the same port; not for a wrapped one."""
        os.kill(self.pid, signal.SIGTERM)
        assert self.wait() == 0
        self._check_log()
        self._check_closes()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        self._start(self.port)
        self.host, self.port = self._listening()

    def _transport(self) -> list[str]:
        if self.ground.transport == "plain":
            return []
        assert self.certificates is not None
        flags = ["--tls-cert", str(self.certificates.server)]
        return (
            [*flags, "--tls-client-ca", str(self.certificates.ca)]
            if self.ground.transport == "mtls"
            else flags
        )

    def _child(self) -> int:
        """The process that a wrapper (strace) runs."""
        return int(
            Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0]
        )

    def _warm_up(self) -> None:
        """Warm up buffers, caches and TLS before memory is measured."""
        self.descriptors_before = self.descriptors()
        time.sleep(0.05)  # it closes the descriptor of its startup message
        self.descriptors_before = min(self.descriptors_before, self.descriptors())
        pair = self.line(2)
        pair[0].command(1, payload=bytes(1000))
        pair[1].expect(Execute)
        self.vacate()
        self.rss_before = self.rss()

    def _listening(self) -> tuple[str, int]:
        if not self.unix:
            return super()._listening()
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == f"listening on unix:{self.unix} for {self.seats} clients\n".encode(), self.log()[
            -4000:
        ]
        return self.unix, 0

    # Peers

    def join(self, name: str = "", *, receive_buffer: int = 0, answers_pings: bool = True) -> Peer:
        peer = self.connect(receive_buffer=receive_buffer, answers_pings=answers_pings)
        peer.hello(name, self.token)
        return peer

    def connect(self, *, receive_buffer: int = 0, answers_pings: bool = True) -> Peer:
        if self.unix:
            self._peers.append(UnixPeer(self.unix))
            return self._peers[-1]
        if self.ground.transport == "plain":
            return super().connect(receive_buffer=receive_buffer, answers_pings=answers_pings)
        assert self.certificates is not None
        certificate = self.certificates.client if self.ground.transport == "mtls" else None
        context = self.certificates.client_context(certificate)
        peer = TlsPeer(
            self.host, self.port, context, receive_buffer=receive_buffer, answers_pings=answers_pings
        )
        self._peers.append(peer)
        return peer

    def plain(self, *, source: str = "", receive_buffer: int = 0) -> socket.socket:
        """A bare TCP connection, from the loopback address `source`."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            sock.bind((source, 0))
        sock.settimeout(DEADLINE_S)
        sock.connect((self.host, self.port))
        return sock

    def signal(self, number: signal.Signals) -> None:
        self._told_to_end = self._told_to_end or number != signal.SIGHUP
        super().signal(number)

    # Measurements

    def rss(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def peak(self) -> int:
        """The peak of resident bytes."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024

    def in_use(self) -> InUse:
        """Allocated memory, of a server that is run as the module `allocations`."""
        assert self._process.stdout is not None
        os.kill(self.pid, ASKED)
        assert readable(self._process.stdout, DEADLINE_S), "the server does not say what it has in use"
        return InUse.parse(self._process.stdout.readline())

    def cpu(self) -> float:
        """CPU time so far, in seconds."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    # U1 to U6

    def verify(self) -> None:
        """Check U1, U2, U4 and U6; U5 follows after the end. U3 is checked by the witness."""
        self.resume()
        self.check()
        self.check_ranks()
        self.release()
        until(lambda: self.descriptors() <= self.descriptors_before, BACK_S, self._descriptors_left)
        until(lambda: self.rss() <= self.rss_before + self.rss_slack, BACK_S, self._memory_left)
        before = self.cpu()
        time.sleep(IDLE_S)
        spent = self.cpu() - before
        assert spent < IDLE_CPU_S, f"U6: {spent * 1000:.0f} ms of CPU in {IDLE_S} s with nobody there"

    def finish(self) -> None:
        """Verify, stop it cleanly, and check its counts."""
        try:
            if self.exit_code is None:
                return
            if self.alive() and not self._told_to_end:
                self.verify()
                self._process.terminate() if self.pid == self._process.pid else os.kill(
                    self.pid, signal.SIGTERM
                )
            assert self.wait() == self.exit_code
            if self.checks_closes:
                self._check_closes()
        finally:
            self.stop()

    def finish_keeping_the_log(self) -> None:
        """Verify and stop it now; its log can be read until `finish`."""
        self.verify()
        self.signal(signal.SIGTERM)
        assert self.wait() == self.exit_code

    def closes(self) -> dict[str, int]:
        """Closes by reason, from the log of a server that has stopped."""
        found = CLOSED.search(self.log())
        assert found, f"no count of closes:\n{self.log()[-4000:]}"
        return {name: int(count) for name, count in re.findall(r"(\w+) (\d+)", found[3] or "")}

    def _check_log(self) -> None:
        if not self.tracebacks_wanted:
            super()._check_log()

    def _check_closes(self) -> None:
        found = CLOSED.search(self.log())
        assert found, f"U5: no count of closes:\n{self.log()[-4000:]}"
        assert found[1] == found[2], f"U5: {found[0]}"
        assert sum(self.closes().values()) == int(found[1]), f"U5: {found[0]}"
        assert STOPPED.search(self.log().splitlines()[-1]), (
            "the last line does not count what was not delivered"
        )

    def check_ranks(self) -> None:
        """U2: a valid MEMBERS has ranks without gaps and increasing tickets (checked by frames.py)."""
        probe = self.join("probe")
        seen: list[int] = []
        while True:
            page: Members = next(f for f in [*_until_members(probe, len(seen))])
            seen += [seat.ticket for seat in page.seats]
            if len(seen) >= page.total or not page.seats:
                break
        assert seen == sorted(set(seen)), "U2: tickets out of order"
        assert seen[-1] == probe.ticket, "U2: the newcomer is not the last"

    def _descriptors_left(self) -> str:
        left = [os.readlink(f"/proc/{self.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{self.pid}/fd")]
        return f"U4: {len(left)} descriptors, {self.descriptors_before} before: {left}"

    def _memory_left(self) -> str:
        return f"U4: {self.rss() >> 10} KiB resident, {self.rss_before >> 10} KiB before"


def _until_members(probe: Peer, first: int) -> Iterable[Members]:
    probe.send(Who(7, first, 10_000))
    while True:
        frame = probe.recv()
        if isinstance(frame, Members):
            yield frame
            return


def start_s() -> float:
    """The time that an idle server needs to start here and now; part of it depends on the machine."""
    began = time.monotonic()
    command = [sys.executable, "-m", "rankmux", "server", "--version"]
    subprocess.run(command, cwd=ROOT, env=environment(False), capture_output=True, check=True)
    return time.monotonic() - began


def readable(sock: socket.socket | IO[bytes], seconds: float) -> bool:
    """Whether bytes arrive within the given time."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(seconds))
