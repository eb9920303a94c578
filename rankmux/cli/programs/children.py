"""The programs that a held seat starts: each in a session of its own, its pipes never blocking, ended as a group.

To stop one is SIGTERM to its process group, then, if anything of the group is left after a grace, SIGKILL. On Linux a
program also gets SIGTERM when we die ourselves without a chance to stop it. What a program that ended by itself has
left running is left alone. Nothing here goes through a shell. It knows no connection and no protocol.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ...system.reactor import Timer
from ..seat.loop import READABLE, WRITABLE, Loop

__all__ = ["Child", "Children", "exit_code_of"]

_READ_BYTES = 64 * 1024  # a pipe's capacity
_DRAIN_MAX_BYTES = 1024 * 1024  # of a program that ended, while something that it left behind writes on
_GROUP_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1


def exit_code_of(returncode: int) -> int:
    """What a shell makes of a return code: 128 and the signal for who was killed."""
    return returncode if returncode >= 0 else 128 - returncode


def _death_signal() -> Callable[[], None] | None:
    """What makes a new process end with us; to run between fork and exec."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # we went before it was arranged
            os._exit(128 + signal.SIGTERM)

    return arrange


class Child:
    """A running program. `pid` is its process group too."""

    def __init__(
        self,
        loop: Loop,
        process: subprocess.Popen[bytes],
        payload: bytes,
        grace_s: float,
        on_output: Callable[[bytes], None] | None,
        on_end: Callable[[int], None],
    ) -> None:
        self._loop = loop
        self._process = process
        self._grace_s = grace_s
        self._on_output = on_output
        self._on_end = on_end
        self._unwritten = memoryview(payload)
        self._stopping = False
        self._group_timer: Timer | None = None
        self._killer: Timer | None = None
        self._input_fd = self._output_fd = -1
        self.ended = False
        self.gone = False
        """Nothing of it is left that we would have to end."""
        if process.stdin is not None:
            self._input_fd = process.stdin.fileno()
            os.set_blocking(self._input_fd, False)
            self._write(WRITABLE)
        if process.stdout is not None:
            self._output_fd = process.stdout.fileno()
            os.set_blocking(self._output_fd, False)
            self.read(True)

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self._process.pid

    def read(self, wanted: bool) -> None:
        """Whether to read its output for now; while not, it waits as soon as its pipe is full."""
        if self._output_fd >= 0:
            self._loop.watch(self._output_fd, READABLE if wanted else 0, self._readable)

    def suspend(self, stopped: bool) -> None:
        """Stop it and its group for now, or have them go on."""
        self._signal(signal.SIGSTOP if stopped else signal.SIGCONT)

    def kill(self) -> None:
        """End it and its group at once."""
        self._stopping = True
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """End it and its group; at once if they have not ended after the grace."""
        if self.gone or self._stopping:
            return
        self._stopping = True
        self._signal(signal.SIGTERM)
        self._killer = self._loop.after(self._grace_s, lambda: self._signal(signal.SIGKILL))

    def look(self) -> None:
        """Find out whether it has ended."""
        if self.ended or self._process.poll() is None:
            return
        self.ended = True
        self._drain()
        self._close_input()
        self._close_output()
        if self._stopping:
            self._look_at_group()
        else:
            self.gone = True
        self._on_end(self._process.returncode)

    def _signal(self, number: int) -> None:
        if not self.gone:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def _look_at_group(self) -> None:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            self.gone = True
            if self._killer is not None:
                self._killer.cancel()
        except PermissionError:
            self.gone = True  # a group that is not ours to end
        else:
            self._group_timer = self._loop.after(_GROUP_POLL_S, self._look_at_group)

    # pipes

    def _write(self, _: int) -> None:
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(self._input_fd, self._unwritten) :]
        except BlockingIOError:
            self._loop.watch(self._input_fd, WRITABLE, self._write)
            return
        except OSError:
            pass  # it does not want to read it
        self._close_input()

    def _close_input(self) -> None:
        if self._input_fd >= 0:
            assert self._process.stdin is not None
            self._loop.watch(self._input_fd, 0, self._write)
            self._input_fd = -1
            with suppress(OSError):
                self._process.stdin.close()

    def _readable(self, _: int) -> None:
        self._read()

    def _read(self) -> int:
        try:
            data = os.read(self._output_fd, _READ_BYTES)
        except BlockingIOError:
            return 0
        if not data:
            self._close_output()
        elif self._on_output is not None:
            self._on_output(data)
        return len(data)

    def _drain(self) -> None:
        size = 0
        while self._output_fd >= 0 and size < _DRAIN_MAX_BYTES and (got := self._read()):
            size += got

    def _close_output(self) -> None:
        if self._output_fd >= 0:
            assert self._process.stdout is not None
            self._loop.watch(self._output_fd, 0, self._readable)
            self._output_fd = -1
            self._process.stdout.close()


class Children:
    """All programs of one seat; ended ones are found through the loop's SIGCHLD."""

    def __init__(self, loop: Loop, grace_s: float) -> None:
        self._loop = loop
        self._grace_s = grace_s
        self._children: list[Child] = []
        self._arrange_death = _death_signal()
        loop.on_child = self._look

    def start(
        self,
        program: Sequence[str],
        environment: Mapping[str, str],
        *,
        payload: bytes | None = None,
        own_input: bool = False,
        on_output: Callable[[bytes], None] | None = None,
        with_errors: bool = False,
        on_end: Callable[[int], None],
    ) -> Child:
        """Start `program`; raises OSError when that is not possible.

        `payload` is its standard input; without one it gets an empty one, or, with `own_input`, ours. Its standard
        output goes to `on_output`, or where ours goes; its errors go where ours go, or, `with_errors`, with its output.
        `on_end(returncode)` is called when it has ended, and all of its output was read.
        """
        standard_input = None if own_input else subprocess.DEVNULL
        process = subprocess.Popen(  # noqa: S603 - to run what our user names is what this is for
            list(program),
            stdin=standard_input if payload is None else subprocess.PIPE,
            stdout=None if on_output is None else subprocess.PIPE,
            stderr=subprocess.STDOUT if with_errors else None,
            env=dict(environment),
            start_new_session=True,
            bufsize=0,
            preexec_fn=self._arrange_death,  # noqa: PLW1509 - there are no threads here
        )
        child = Child(self._loop, process, payload or b"", self._grace_s, on_output, on_end)
        self._children.append(child)
        return child

    def _look(self) -> None:
        for child in list(self._children):
            child.look()
        self._children = [child for child in self._children if not child.gone]

    def suspend_with_us(self) -> None:
        """Stop what runs, and ourselves; returns when somebody has us go on, and they do."""
        for child in self._children:
            child.suspend(True)
        os.kill(os.getpid(), signal.SIGSTOP)
        for child in self._children:
            child.suspend(False)

    def kill_all(self) -> None:
        """End what runs at once."""
        for child in self._children:
            child.kill()

    def stop_all(self, then: Callable[[], None]) -> None:
        """Stop what runs; `then()` when nothing is left of it."""
        for child in self._children:
            child.stop()
        self._wait_for_all(then)

    def _wait_for_all(self, then: Callable[[], None]) -> None:
        self._look()
        if self._children:
            self._loop.after(_GROUP_POLL_S, lambda: self._wait_for_all(then))
        else:
            then()
