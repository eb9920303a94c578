"""The programs that `work` runs when its rank changes and when its connection goes.

One of each kind at a time. While the one for a rank still runs, only the latest of the ranks that come meanwhile waits
for its end; when the connection goes it is stopped, since it acts for a rank that is not held any more.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from ...errors import ConfigError
from .children import Child, Children

__all__ = ["Hook", "program_of"]


def program_of(flag: str, text: str | None) -> list[str]:
    """A hook's program and its arguments, from one text as a shell would split it. Raises ConfigError."""
    if text is None:
        return []
    try:
        program = shlex.split(text)
    except ValueError:
        program = []
    if not program:
        raise ConfigError(flag, text, "a program is expected, with its arguments if it has any")
    return program


class Hook:
    """A program that is run at each of certain moments; nothing where `program` is empty."""

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
        self._running: Child | None = None
        self._next: dict[str, object] | None = None
        self.on_end: Callable[[], None] = lambda: None

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self._running is not None

    def run(self, **variables: object) -> None:
        """Run it with these RANKMUX_ variables, now, or as soon as it has ended."""
        if not self._program:
            return
        if self._running is not None:
            self._next = variables
            return
        try:
            self._running = self._children.start(
                self._program, self._environment(**variables), on_end=self._ended
            )
        except OSError as error:
            self._complain(f"the hook {self._program[0]} cannot be run: {error.strerror}")

    def forget(self) -> None:
        """Do not run it again after it has ended."""
        self._next = None

    def stop(self) -> None:
        """Stop it, and run it no more until `run` is called again."""
        self.forget()
        if self._running is not None:
            self._running.stop()

    def _ended(self, returncode: int) -> None:
        self._running = None
        if returncode > 0:
            self._complain(f"the hook {self._program[0]} failed: exit code {returncode}")
        self.on_end()
        if self._next is not None:
            variables, self._next = self._next, None
            self.run(**variables)
