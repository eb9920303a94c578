"""Signals that end rankmux-client: SIGINT, SIGTERM and SIGHUP, unless the parent process had them ignored.

That is how `nohup` and a script's `&` shield a program; SIGTERM ignored is no convention, and undone by `inherited`.
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Interrupts", "ending", "interrupt", "suspend"]


def ending() -> list[signal.Signals]:
    """The signals that end this process."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def interrupt() -> None:
    """Have each of them raise KeyboardInterrupt, as SIGINT does."""
    for number in ending():
        signal.signal(number, signal.default_int_handler)


class Interrupts:
    """Those signals, while a program also does what must not be cut short: they raise KeyboardInterrupt in `during`.

    A first one that comes elsewhere is raised by the next `during`; a second one is raised where it comes. To be made
    after `interrupt`.
    """

    def __init__(self) -> None:
        self._open = False
        self._come = self._told = False
        for number in ending():
            signal.signal(number, self._handle)

    def _handle(self, *_: object) -> None:
        raised, self._come = self._open or self._come, True
        if raised:
            self._open, self._told = False, True
            raise KeyboardInterrupt

    def during(self, step: Callable[..., Any], *arguments: object) -> Any:
        """`step(*arguments)`, which may be cut short."""
        self._open = True
        try:
            if self._come and not self._told:
                self._told = True
                raise KeyboardInterrupt
            return step(*arguments)
        finally:
            self._open = False


def suspend() -> None:
    """Stop this process until it is told to go on, if there is anybody to do so.

    The kernel knows: it ignores the default action of SIGTSTP in an orphaned process group, where no shell has an `fg`
    (`ssh -t`, `docker exec`). SIGSTOP would stop us for ever there.
    """
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)
