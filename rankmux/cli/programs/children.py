"""Programs that a held seat starts: each in a session of its own, with pipes that never block, ended as a group.

To stop one is SIGTERM to its process group, and after a grace SIGKILL if anything of the group is left. On Linux a
program also gets SIGTERM when we die without a chance to stop it. What a program that ended by itself has left running
is left alone. Nothing here goes through a shell.

asyncio's own subprocesses would not do: on Python 3.11 they start a thread for each program and give it a socket as its
standard input, and from 3.12 on they wait for pipes that a grandchild holds open.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

__all__ = ["Child", "Children", "exit_code_of"]

_READ_BYTES = 64 * 1024  # a pipe's capacity
_DRAIN_MAX_BYTES = (
    1024 * 1024
)  # read after a program's end, while something that it left behind goes on writing
_GROUP_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1


def exit_code_of(returncode: int) -> int:
    """A return code as a shell has it: 128 and the signal for a program that was killed."""
    return returncode if returncode >= 0 else 128 - returncode


def _death_signal() -> Callable[[], None] | None:
    """A function to run between fork and exec, after which the new process ends with us."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # we died before it was arranged
            os._exit(128 + signal.SIGTERM)

    return arrange


class Child:
    """A running program. `pid` is its process group too."""

    def __init__(self, process: subprocess.Popen[bytes], payload: bytes, grace_s: float) -> None:
        self._process = process
        self._grace_s = grace_s
        self._unwritten = memoryview(payload)
        self._drain_left = _DRAIN_MAX_BYTES
        self._loop = asyncio.get_running_loop()
        self._returncode: asyncio.Future[int] = self._loop.create_future()
        self._changed = asyncio.Event()  # output came, or it ended
        self._stopping: asyncio.Task[None] | None = None
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
        if not self._returncode.done() and self._process.poll() is not None:
            self._close_input()
            self._returncode.set_result(self._process.returncode)
            self._changed.set()

    def suspend(self, stopped: bool) -> None:
        """Stop it and its group for now, or let them go on."""
        self._signal(signal.SIGSTOP if stopped else signal.SIGCONT)

    def kill(self) -> None:
        """End it and its group at once."""
        self.stop()
        self._signal(signal.SIGKILL)

    def stop(self) -> asyncio.Task[None] | None:
        """End it and its group, by force after the grace. The task ends when nothing is left; None: nothing was."""
        if self._stopping is None and not self.gone:
            self._signal(signal.SIGTERM)
            self._stopping = self._loop.create_task(self._stop())
        return self._stopping

    async def _stop(self) -> None:
        killing = self._loop.call_later(self._grace_s, self._signal, signal.SIGKILL)
        try:
            await self.wait()
            with suppress(
                ProcessLookupError, PermissionError
            ):  # PermissionError: a group that is not ours to end
                while True:
                    os.killpg(self.pid, 0)
                    await asyncio.sleep(_GROUP_POLL_S)
        finally:
            killing.cancel()

    def _signal(self, number: int) -> None:
        if not self.gone:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

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


class Children:
    """All programs of one seat. Takes over SIGCHLD."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._children: list[Child] = []
        self._arrange_death = _death_signal()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._look)

    def start(
        self,
        program: Sequence[str],
        environment: Mapping[str, str],
        *,
        payload: bytes | None = None,
        own_input: bool = False,
        with_output: bool = False,
        with_errors: bool = False,
    ) -> Child:
        """Start `program`. Raises OSError when that is not possible.

        `payload` is its standard input; without one it is empty, or, with `own_input`, ours. Its standard output is
        ours, or, `with_output`, to be read; standard error is ours, or, `with_errors`, goes where its output goes.
        """
        standard_input = None if own_input else subprocess.DEVNULL
        process = subprocess.Popen(  # noqa: S603 - it runs what our user names
            list(program),
            stdin=standard_input if payload is None else subprocess.PIPE,
            stdout=subprocess.PIPE if with_output else None,
            stderr=subprocess.STDOUT if with_errors else None,
            env=dict(environment),
            start_new_session=True,
            bufsize=0,
            preexec_fn=self._arrange_death,  # noqa: PLW1509 - our only threads look up names
        )
        child = Child(process, payload or b"", self._grace_s)
        self._children = [*(child for child in self._children if not child.gone), child]
        return child

    def _look(self) -> None:
        for child in self._children:
            child.look()

    def suspend_with_us(self) -> None:
        """Stop the programs and ourselves; they go on when we do."""
        for child in self._children:
            child.suspend(True)
        os.kill(os.getpid(), signal.SIGSTOP)
        for child in self._children:
            child.suspend(False)

    def kill_all(self) -> None:
        """End all programs at once."""
        for child in self._children:
            child.kill()

    async def stop_all(self) -> None:
        """Stop all programs; returns when nothing of them is left."""
        stopping = [task for child in self._children if (task := child.stop()) is not None]
        if stopping:
            await asyncio.wait(stopping)
