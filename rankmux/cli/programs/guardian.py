"""Guardian of the programs of a held seat: a process that ends their process groups when we are gone, however we went.

Nothing that we do at our end helps against SIGKILL. The guardian (`guardian_process`) has a session of its own and no
descriptor but a pipe from us; when that ends, it ends what was not removed before. It can keep a connection open
meanwhile, so that the server learns of our end only when the programs have ended, too.

A group is added by its first process, before that runs the program, and removed before that process is reaped. So no
program runs unguarded for a moment, and the number of a group that is guarded belongs to no stranger.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from . import guardian_process

__all__ = ["Guardian"]


class Guardian:
    """Starts the guardian with the first program, and another one should it be killed."""

    def __init__(self, grace_s: float) -> None:
        self._command = [
            sys.executable,
            "-I",
            "-S",
            str(Path(guardian_process.__file__).absolute()),
            str(grace_s),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._kept: list[int] = []
        self._groups: set[int] = set()

    def keep_open(self, fd: int) -> None:
        """Keep the connection `fd` open until `close`, or for as long as the guardian lives; before the first program.

        A shutdown of the connection ends it nevertheless.
        """
        self._kept.append(os.dup(fd))

    def ensure(self) -> None:
        """See to it that there is one. Raises OSError."""
        if self._process is not None and self._process.poll() is not None:
            self._drop()
        if self._process is None:
            self._start()

    def add_ourselves(self) -> None:
        """Add the group of the calling process, a fork of ours which leads that group. Raises OSError."""
        os.write(self._pipe, b"+%d\n" % os.getpid())

    def added(self, group: int) -> None:
        """Note that this group has added itself."""
        self._groups.add(group)

    def remove(self, group: int) -> None:
        """Guard this group no longer."""
        if group in self._groups:
            self._groups.remove(group)
            self._write(b"-%d\n" % group)

    def look(self) -> None:
        """Replace it if it has ended, after a SIGCHLD. Raises OSError."""
        if self._groups:
            self.ensure()

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """Let it end what it still guards, and itself."""
        while self._kept:
            os.close(self._kept.pop())
        if self._groups:
            self._close_pipe()
        else:
            self._drop()

    def _start(self) -> None:
        reading, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)  # nothing that befalls the guardian may hold us up
        try:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                self._command,
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                pass_fds=self._kept,
            )
        except OSError:
            self._close_pipe()
            raise
        finally:
            os.close(reading)
        for group in self._groups:
            self._write(b"+%d\n" % group)

    def _drop(self) -> None:
        if self._process is not None:
            self._process.kill()  # before the pipe ends, which it would act upon
            self._process.wait()
            self._process = None
            self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _write(self, line: bytes) -> None:
        try:
            os.write(self._pipe, line)
        except (
            OSError
        ):  # it has ended, or reads no more: the next one will be told of the groups that are left then
            if self._process is not None:
                self._process.kill()
