"""Signals that end rankmux-client: SIGINT, SIGTERM and SIGHUP, unless the parent process had them ignored (nohup)."""

from __future__ import annotations

import signal

__all__ = ["ending", "interrupt"]


def ending() -> list[signal.Signals]:
    """The signals that end this process."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def interrupt() -> None:
    """Have each of them raise KeyboardInterrupt, as SIGINT does."""
    for number in ending():
        signal.signal(number, signal.default_int_handler)
