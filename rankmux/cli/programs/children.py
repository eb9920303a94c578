"""Programs that a held seat starts: each in a session of its own, with pipes that never block, ended as a group.

To stop one is SIGTERM to its process group, and after a grace SIGKILL if anything of the group is left. When we die
without a chance to do that, the guardian does. What a program that ended by itself has left running is left alone, or,
with `whole`, stopped too. Nothing here goes through a shell.

We reap whatever child of ours ends: as process 1 of a container we inherit the orphans of all programs.

asyncio's own subprocesses would not do: on Python 3.11 they start a thread for each program and give it a socket as its
standard input, and from 3.12 on they wait for pipes that a grandchild holds open.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ..shared.signals import suspend
from .guardian import Guardian
from .guardian_process import group_lives, signal_group

__all__ = ["Child", "Children", "exit_code_of"]

_READ_BYTES = 64 * 1024  # a pipe's capacity
# Read after a program's end, while something that it left behind goes on writing.
_DRAIN_MAX_BYTES = 1024 * 1024
_GROUP_POLL_S = 0.05
_CAN_LOOK = hasattr(os, "waitid")  # not on macOS before Python 3.13
_AFTER_KILL_S = 2.0  # SIGKILL takes no longer, unless the process hangs in the kernel


def exit_code_of(returncode: int) -> int:
    """A return code as a shell has it: 128 and the signal for a program that was killed."""
    return returncode if returncode >= 0 else 128 - returncode


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether this child of ours has ended; it stays a zombie, if the system lets us look at one."""
    if not _CAN_LOOK:
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


class Children:
    """All programs of one seat. Takes over SIGCHLD, and all children of this process."""

    def __init__(self, grace_s: float, complain: Callable[[str], None]) -> None:
        self._grace_s = grace_s
        self._complain = complain
        self._children: list[Child] = []
        self._guardian = Guardian(grace_s)
        self._stopped_all = True
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._look)

    def keep_open(self, fd: int) -> None:
        """Keep the connection `fd` open until all programs have ended, even if we are killed; before the first one."""
        self._guardian.keep_open(fd)

    def start(
        self,
        program: Sequence[str],
        environment: Mapping[str, str],
        *,
        payload: bytes | None = None,
        own_input: bool = False,
        with_output: bool = False,
        with_errors: bool = False,
        whole: bool = False,
    ) -> Child:
        """Start `program`. Raises OSError when that is not possible.

        `payload` is its standard input; without one it is empty, or, with `own_input`, ours. Its standard output is
        ours, or, `with_output`, to be read; standard error is ours, or, `with_errors`, goes where its output goes.
        When it has ended by itself, what is left of its group is stopped if it is to be ended as a `whole`.
        """
        standard_input = None if own_input else subprocess.DEVNULL
        self._guardian.ensure()
        try:
            process = subprocess.Popen(  # noqa: S603 - it runs what our user names
                list(program),
                stdin=standard_input if payload is None else subprocess.PIPE,
                stdout=subprocess.PIPE if with_output else None,
                stderr=subprocess.STDOUT if with_errors else None,
                env=dict(environment),
                start_new_session=True,
                bufsize=0,
                preexec_fn=self._arrange,  # noqa: PLW1509 - our only threads look up names
                restore_signals=False,  # it would come too early, see there
            )
        except subprocess.SubprocessError as error:
            raise OSError(errno.EAGAIN, "its guardian has just ended") from error
        self._guardian.added(process.pid)
        child = Child(
            process,
            self._guardian,
            self._unstoppable,
            payload=payload or b"",
            grace_s=self._grace_s,
            whole=whole,
        )
        self._children = [*(child for child in self._children if not child.gone), child]
        return child

    def _arrange(self) -> None:
        """The last steps of a new process before it runs its program."""
        self._guardian.add_ourselves()  # with SIGPIPE ignored: the guardian may just have ended
        for number in signal.valid_signals():
            if signal.getsignal(number) is signal.SIG_IGN:  # by Python, or by the process that started us
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _look(self) -> None:
        for child in self._children:
            child.look()
        try:
            self._guardian.look()
        except OSError as error:
            self._complain(f"nothing ends the programs should this process be killed ({error.strerror})")
        self._reap_orphans()

    def _reap_orphans(self) -> None:
        if not _CAN_LOOK:
            return
        ours = {self._guardian.pid, *(child.pid for child in self._children if not child.gone)}
        with suppress(ChildProcessError):
            while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if found.si_pid in ours:  # it ended just now, and a SIGCHLD says so
                    break
                os.waitpid(found.si_pid, os.WNOHANG)

    def suspend_with_us(self) -> None:
        """Stop the programs and ourselves, on SIGTSTP; they go on when we do, at once where nobody could tell us to."""
        for child in self._children:
            child.suspend(True)
        suspend()
        for child in self._children:
            child.suspend(False)

    def kill_all(self) -> None:
        """End all programs at once."""
        for child in self._children:
            child.kill()

    async def stop_all(self) -> bool:
        """Stop all programs; whether nothing is left of any program that was ever to be stopped."""
        stopping = [task for child in self._children if (task := child.stop()) is not None]
        if stopping:
            await asyncio.wait(stopping)
        return self._stopped_all

    def _unstoppable(self, text: str) -> None:
        self._stopped_all = False
        self._complain(text)

    def close(self) -> None:
        """Leave what still runs to the guardian."""
        self._guardian.close()
