"""A real server in a separate process: started, paused, ended and checked.

A server that is stopped with SIGSTOP while several peers send finds all their data at once when it continues: that
is one turn, and the way to test section 4 deterministically. On loopback the bytes have arrived when `send` returns,
up to the first ten unacknowledged segments of a connection; so a test sends larger data in one call.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .frames import OBSERVE, WATCH, Hello, Leave, Write, resume
from .peer import DEADLINE_S, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
START_S = 20.0
STOP_S = 15.0
LISTENING = re.compile(r"listening on (\S+):(\d+) for (\d+) clients?\b")
ADMIN = re.compile(r"admin endpoint: http://([^:/]+):(\d+)/")


def environment(extension: bool) -> dict[str, str]:
    """The server's environment: ours without RANKMUX_ variables, and the choice of its twin."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RANKMUX_")}
    return {**kept, "RANKMUX_EXTENSION": "1" if extension else "0"}


def has_extension() -> bool:
    """Whether a server process could run with the compiled twin."""
    command = [sys.executable, "-c", "import rankmux._twin"]
    trial = subprocess.run(command, cwd=ROOT, env=environment(True), capture_output=True, check=False)
    return trial.returncode == 0


class Server:
    """A server process on a free loopback port, and the peers that talk to it."""

    def __init__(
        self, seats: int, *flags: str, first_ticket: int | None = 1, extension: bool = False
    ) -> None:
        self.seats = seats
        if first_ticket is not None:  # otherwise the clock decides
            flags = ("--first-ticket", str(first_ticket), *flags)
        self._peers: list[Peer] = []
        self._secrets: list[bytes] = []
        self._paused = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        command = [sys.executable, "-m", "rankmux", "server", "-n", str(seats), "--port", "0", *flags]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(extension),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self.pid = self._process.pid
        try:
            self.host, self.port = self._listening()
        except BaseException:
            self.stop()
            raise

    # Peers

    def connect(self, *, receive_buffer: int = 0, answers_pings: bool = True) -> Peer:
        """A new connection that has not sent anything."""
        peer = Peer(self.host, self.port, receive_buffer=receive_buffer, answers_pings=answers_pings)
        self._peers.append(peer)
        return peer

    def join(
        self, name: str = "", *, flags: int = 0, receive_buffer: int = 0, answers_pings: bool = True
    ) -> Peer:
        """A new member."""
        peer = self.connect(receive_buffer=receive_buffer, answers_pings=answers_pings)
        peer.hello(name, flags=flags)
        return peer

    def keep(
        self, secret: bytes, name: str = "", *, keep_ms: int = 60_000, last_seq: int = 0, flags: int = 0
    ) -> Peer:
        """A new member with a keep, or the return to a seat that is kept for this secret."""
        peer = self.connect()
        peer.hello(name, flags=flags, resume=resume(secret, keep_ms, last_seq))
        self.promise(secret)
        return peer

    def returning(self, secret: bytes, *, last_seq: int = 0, keep_ms: int = 60_000, name: str = "") -> Hello:
        """The HELLO that asks for a keep or returns, for tests that send it on their own."""
        self.promise(secret)
        return Hello(name=name, resume=resume(secret, keep_ms, last_seq))

    def promise(self, secret: bytes) -> None:
        """Note a secret under which a seat may be kept, so that `vacate` frees it."""
        if secret not in self._secrets:
            self._secrets.append(secret)

    def observe(self) -> Peer:
        """An observer: it has no seat, and receives only answers."""
        peer = self.connect()
        peer.hello(flags=OBSERVE)
        return peer

    def watch(self) -> Peer:
        """An observer that watches the line; it has no seat."""
        peer = self.connect()
        peer.hello(flags=OBSERVE | WATCH)
        return peer

    def line(self, count: int) -> list[Peer]:
        """`count` new members, in rank order."""
        return [self.join() for _ in range(count)]

    def release(self) -> None:
        """Let the server continue, and close all peers."""
        self.resume()
        for peer in self._peers:
            peer.close()
        self._peers.clear()

    def vacate(self) -> None:
        """Wait until all seats are free, and delete the baton."""
        self.release()
        for secret in self._secrets:
            keeper = self.connect()
            keeper.send(Hello(resume=resume(secret)), Leave())
            with suppress(AssertionError, OSError):  # whether the seat is free is asked below
                keeper.drain()
        self._secrets.clear()
        probe = self.join()
        probe.wait_for_total(1)
        probe.send(Write(0))
        probe.settle()
        probe.leave()
        probe.expect_close()
        self.release()

    # The process

    def pause(self) -> None:
        """Stop the process between two turns, and return when every thread of it has stopped."""
        self._wait_for("S", "has no rest")
        self._paused = True
        os.kill(self.pid, signal.SIGSTOP)
        self._wait_for("T", "does not stop")

    def resume(self) -> None:
        """Let the process continue."""
        if self._paused:
            self._paused = False
            os.kill(self.pid, signal.SIGCONT)

    @contextmanager
    def one_turn(self) -> Iterator[None]:
        """Data that peers send within this block arrives in one turn, if its amount is small."""
        self.pause()
        try:
            yield
            time.sleep(0.005)  # by then even deferred delivery is complete
        finally:
            self.resume()

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = STOP_S) -> int:
        """Wait for the process to end; its exit code."""
        return self._process.wait(timeout_s)

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def descriptors(self) -> int:
        """The number of open file descriptors, without that of io_uring, which is opened once and kept."""
        names = []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            with suppress(FileNotFoundError):
                names.append(os.readlink(f"/proc/{self.pid}/fd/{fd}"))
        rings = names.count("anon_inode:[io_uring]")
        assert rings <= 1
        return len(names) - rings

    def admin_address(self) -> tuple[str, int]:
        """Where the admin endpoint listens, if it does so over TCP."""
        deadline = time.monotonic() + START_S
        while (found := ADMIN.search(self.log())) is None:
            assert time.monotonic() < deadline, "the server does not say where its admin endpoint is"
            time.sleep(0.01)
        return found[1], int(found[2])

    def log(self) -> str:
        """The server's standard error."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def check(self) -> None:
        """Assert that the server is running and has logged no error."""
        assert self.alive(), f"the server has ended with {self._process.returncode}:\n{self.log()[-4000:]}"
        self._check_log()

    def stop(self) -> None:
        """Stop the process, and kill it if that takes too long."""
        try:
            self.release()
            if self.alive():
                self._process.terminate()
                try:
                    self._process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
                    raise AssertionError("the server did not end when asked") from None
            self._check_log()
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._log.close()

    def _check_log(self) -> None:
        text = self.log()
        assert "Traceback" not in text, text[-8000:]

    def _wait_for(self, state: str, complaint: str) -> None:
        """Wait until every thread of the process is sleeping (S) or stopped (T)."""
        deadline = time.monotonic() + DEADLINE_S
        while {task.read_text().rpartition(")")[2].split()[0] for task in self._tasks()} != {state}:
            assert time.monotonic() < deadline, f"the server {complaint}"
            time.sleep(0.000_5)

    def _tasks(self) -> Iterator[Path]:
        return Path(f"/proc/{self.pid}/task").glob("*/stat")

    def _listening(self) -> tuple[str, int]:
        """Read standard output up to the line with the address."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + START_S
        text = b""
        while (found := LISTENING.search(text.decode(errors="replace"))) is None or not text.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._process.stdout.fileno(), 65_536) if ready else b""
            assert chunk, f"the server does not say where it listens: {text!r}\n{self.log()[-4000:]}"
            text += chunk
        assert int(found[3]) == self.seats
        return found[1], int(found[2])


def end_all(started: Iterable[T], end: Callable[[T], object]) -> None:
    """End each, whatever happens to the others; the first failure is raised when all have ended."""
    failures: list[BaseException] = []
    for each in started:
        try:
            end(each)
        except (AssertionError, OSError) as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
