"""Signals that end rankmux-client: SIGINT, SIGTERM and SIGHUP, unless the parent process had them ignored.

That is how `nohup` and a script's `&` shield a program; SIGTERM ignored is no convention, and undone by `inherited`.
"""

from __future__ import annotations

import signal

__all__ = ["ending", "interrupt", "suspend"]


def ending() -> list[signal.Signals]:
    """The signals that end this process."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def interrupt() -> None:
    """Have each of them raise KeyboardInterrupt, as SIGINT does."""
    for number in ending():
        signal.signal(number, signal.default_int_handler)


def suspend() -> None:
    """Stop this process until it is told to go on, if there is anybody to do so.

    The kernel knows: it ignores the default action of SIGTSTP in an orphaned process group, where no shell has an `fg`
    (`ssh -t`, `docker exec`). SIGSTOP would stop us for ever there.
    """
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)
