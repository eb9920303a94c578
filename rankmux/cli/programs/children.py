"""All programs of a held seat: started, each in a session of its own, stopped together, and reaped.

When we die without a chance to stop them, the guardian does. Nothing here goes through a shell.

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
from .child import CAN_LOOK, Child
from .guardian import Guardian

__all__ = ["Children"]


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
        if not CAN_LOOK:
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
