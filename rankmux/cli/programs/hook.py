"""Hooks of `work`: programs that it runs when its rank changes, and when its connection is lost.

One run of a hook at a time. While it runs, only the latest of the ranks that come meanwhile waits for its end; when the
connection is lost, the hook for ranks is stopped, since it acts for a rank that is no longer held.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable

from ...errors import ConfigError
from .child import Child
from .children import Children
from .finding import program_fault

__all__ = ["Hook", "program_of"]


def program_of(flag: str, text: str | None) -> list[str]:
    """A hook's program and its arguments, split as by a shell; empty without a hook. Raises ConfigError."""
    if text is None:
        return []
    try:
        program = shlex.split(text)
    except ValueError:
        program = []
    if not program:
        raise ConfigError(flag, text, "expected a program, with its arguments if it has any")
    if fault := program_fault(program)[1]:
        raise ConfigError(flag, text, fault)
    return program


class Hook:
    """A program to run on certain occasions; does nothing where `program` is empty."""

    def __init__(
        self,
        children: Children,
        program: list[str],
        environment: Callable[..., dict[str, str]],
        complain: Callable[[str], None],
    ) -> None:
        self._children = children
        self._program = program
        self._environment = environment
        self._complain = complain
        self._running: asyncio.Task[None] | None = None
        self._child: Child | None = None
        self._next: dict[str, object] | None = None

    def run(self, **variables: object) -> None:
        """Run it with these RANKMUX_ variables, now, or as soon as it has ended."""
        if self._program:
            self._next = variables
            if self._running is None or self._running.done():
                self._running = asyncio.get_running_loop().create_task(self._run())

    async def wait(self, timeout_s: float) -> None:
        """Wait until it has ended, at most that long."""
        if self._running is not None:
            await asyncio.wait({self._running}, timeout=timeout_s)

    def clear(self) -> None:
        """Do not run it again after it has ended."""
        self._next = None

    def stop(self) -> None:
        """Stop it, and do not run it again until `run` is called."""
        self.clear()
        if self._child is not None:
            self._child.stop()

    async def _run(self) -> None:
        while self._next is not None:
            variables, self._next = self._next, None
            try:
                self._child = self._children.start(self._program, self._environment(**variables))
            except OSError as error:
                self._complain(f"cannot run the hook {self._program[0]}: {error.strerror}")
                continue
            returncode = await self._child.wait()
            if returncode > 0:
                self._complain(f"the hook {self._program[0]} failed: exit code {returncode}")
