"""A program that a held seat started: its pipes, which never block, and its end as a group.

To stop it is SIGTERM to its process group, and after a grace SIGKILL if anything of the group is left. What a program
that ended by itself has left running is left alone, or, with `whole`, stopped too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress

from .guardian import Guardian
from .guardian_process import group_lives, signal_group

__all__ = ["CAN_LOOK", "Child", "exit_code_of"]

_READ_BYTES = 64 * 1024  # a pipe's capacity
# Read after a program's end, while something that it left behind goes on writing.
_DRAIN_MAX_BYTES = 1024 * 1024
_GROUP_POLL_S = 0.05
_AFTER_KILL_S = 2.0  # SIGKILL takes no longer, unless the process hangs in the kernel

CAN_LOOK = hasattr(os, "waitid")
"""Whether the system shows a child that has ended and leaves it a zombie; not on macOS before Python 3.13."""


def exit_code_of(returncode: int) -> int:
    """A return code as a shell has it: 128 and the signal for a program that was killed."""
    return returncode if returncode >= 0 else 128 - returncode


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether this child of ours has ended; it stays a zombie, if the system lets us look at one."""
    if not CAN_LOOK:
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


class Child:
    """A running program. `pid` is its process group too."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        guardian: Guardian,
        complain: Callable[[str], None],
        *,
        payload: bytes,
        grace_s: float,
        whole: bool,
    ) -> None:
        self._process = process
        self._guardian = guardian
        self._complain = complain
        self._whole = whole
        self._grace_s = grace_s
        self._unwritten = memoryview(payload)
        self._drain_left = _DRAIN_MAX_BYTES
        self._loop = asyncio.get_running_loop()
        self._returncode: asyncio.Future[int] = self._loop.create_future()
        self._changed = asyncio.Event()  # output came, or it ended
        self._stopping: asyncio.Task[None] | None = None
        self._kill_at = 0.0
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        self._write()

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self._process.pid

    @property
    def gone(self) -> bool:
        """Whether nothing of it is left that we would have to end."""
        return self._returncode.done() if self._stopping is None else self._stopping.done()

    async def wait(self) -> int:
        """Wait for the program's end; its return code."""
        return await asyncio.shield(self._returncode)

    def look(self) -> None:
        """Find out whether it has ended, after a SIGCHLD."""
        if self._returncode.done() or not _has_ended(self._process):
            return
        if self._whole and group_lives(self.pid):
            self.stop()
        if self._stopping is None:
            self._guardian.remove(self.pid)  # while the zombie still keeps its number from others
        self._process.poll()
        self._ended(self._process.returncode)

    def _ended(self, returncode: int) -> None:
        if not self._returncode.done():
            self._close_input()
            self._returncode.set_result(returncode)
            self._changed.set()

    def suspend(self, stopped: bool) -> None:
        """Stop it and its group for now, or let them go on."""
        if not self.gone:
            self._signal(signal.SIGSTOP if stopped else signal.SIGCONT)

    def kill(self) -> None:
        """End it and its group at once."""
        self.stop()
        if not self.gone:
            self._kill_at = self._loop.time()
            self._signal(signal.SIGKILL)

    def stop(self) -> asyncio.Task[None] | None:
        """End it and its group, by force after the grace; None: nothing was left of it.

        The task ends in bounded time. If something is left then, it has complained.
        """
        if self._stopping is None and not self.gone:
            self._signal(signal.SIGTERM)
            self._kill_at = self._loop.time() + self._grace_s
            self._stopping = self._loop.create_task(self._stop())
        return self._stopping

    async def _stop(self) -> None:
        while self._loop.time() < self._kill_at:
            if await self._emptied():
                break
        else:
            reason = self._signal(signal.SIGKILL)
            until = self._loop.time() + _AFTER_KILL_S
            while not await self._emptied():
                if self._loop.time() >= until:
                    self._complain(
                        f"process {self.pid} runs on, it cannot be stopped"
                        f" ({reason or 'SIGKILL does not end it'}); try `kill -- -{self.pid}` as its user"
                    )
                    self._ended(-signal.SIGKILL)  # there is nothing more to wait for
                    return
        self._guardian.remove(self.pid)

    async def _emptied(self) -> bool:
        """Whether nothing of the group is left, soon or after a while."""
        await asyncio.wait({self._returncode}, timeout=_GROUP_POLL_S)
        if not self._returncode.done():
            return False
        if group_lives(self.pid):
            await asyncio.sleep(_GROUP_POLL_S)
            return False
        return True

    def _signal(self, number: int) -> str | None:
        """Send a signal to the group; the reason why that is not possible."""
        try:
            signal_group(self.pid, number)
        except PermissionError as error:
            return error.strerror
        return None

    # pipes

    async def read(self) -> bytes:
        """Some of its standard output; `b""` when the program has ended and all of it was read."""
        pipe = self._process.stdout
        while pipe is not None and not pipe.closed:
            ended = self._returncode.done()  # asked before reading: the last output comes before the end
            try:
                data = os.read(pipe.fileno(), _READ_BYTES)
            except BlockingIOError:
                if ended:
                    break
                await self._readable(pipe.fileno())
                continue
            if not data or self._drain_left <= 0:
                break
            self._drain_left -= len(data) if ended else 0
            return data
        if pipe is not None:
            pipe.close()
        await self.wait()
        return b""

    async def _readable(self, fd: int) -> None:
        self._loop.add_reader(fd, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            self._changed.clear()
            self._loop.remove_reader(fd)

    def _write(self) -> None:
        if self._process.stdin is None:
            return
        fd = self._process.stdin.fileno()
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(fd, self._unwritten) :]
        except BlockingIOError:
            self._loop.add_writer(fd, self._write)
        except OSError:  # it does not want to read it
            self._close_input()
        else:
            self._close_input()

    def _close_input(self) -> None:
        if self._process.stdin is not None:
            self._loop.remove_writer(self._process.stdin.fileno())
            with suppress(OSError):
                self._process.stdin.close()
            self._process.stdin = None
