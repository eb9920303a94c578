"""State that a program inherits from the process that started it, set right before anything depends on it."""

from __future__ import annotations

import signal

from .streams import open_missing

__all__ = ["set_right"]

_NEEDED = (signal.SIGTERM, signal.SIGCHLD)
"""Signals that no convention has ignored. SIGINT and SIGHUP are: a job in the background of a script, and nohup."""


def set_right() -> None:
    """Open closed standard streams; block no signal, and ignore none that we could not do without.

    A program that blocks SIGCHLD or ignores SIGTERM, as some runners do, leaves that to all that it starts.
    """
    open_missing()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in _NEEDED:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
