"""The guardian's own process: it ends the process groups that it was told of when its standard input ends.

Standard input is a pipe of which only the process that started it holds the other end, so it ends when that process
does, in whatever way. A line `+PID` adds a process group, `-PID` removes one. The argument is the grace in seconds.

Run as `python -I -S guardian_process.py 5.0`: it has to start quickly, so it imports nothing of rankmux.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

__all__ = ["group_lives", "signal_group"]

_POLL_FIRST_S = 0.005  # doubled up to _POLL_S: most programs end at once, and the next leader may wait for it
_POLL_S = 0.05
_AFTER_KILL_S = 2.0  # SIGKILL takes no longer, unless the process hangs in the kernel
_READ_BYTES = 64 * 1024


def group_lives(group: int) -> bool:
    """Whether any process of that group runs. Zombies do not: where nobody reaps them they stay for ever."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, but not ours to signal
        return True
    return _runs(group)


def _runs(group: int) -> bool:
    try:
        if os.readlink("/proc/self") != str(os.getpid()):  # of another PID namespace
            return True
        pids = [name for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:  # not Linux
        return True
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
                state, _, of_group, *_ = file.read(4096).rpartition(b")")[2].split()
        except (OSError, ValueError):  # it has ended meanwhile
            continue
        if int(of_group) == group and state not in b"ZX":
            return True
    return False


def signal_group(group: int, number: int) -> None:
    """Send a signal to a group, if anything is left of it. Raises PermissionError."""
    with suppress(ProcessLookupError):
        os.killpg(group, number)
        if number == signal.SIGTERM:
            os.killpg(group, signal.SIGCONT)  # a stopped process would not get to clean up


def _end(groups: set[int], grace_s: float) -> None:
    deadline = time.monotonic() + grace_s
    for group in groups:
        with suppress(PermissionError):
            signal_group(group, signal.SIGTERM)
    groups = _left(groups, deadline)
    for group in groups:
        with suppress(PermissionError):
            signal_group(group, signal.SIGKILL)
    _left(groups, time.monotonic() + _AFTER_KILL_S)  # a connection that this process keeps open ends with it


def _left(groups: set[int], deadline: float) -> set[int]:
    """Wait for the groups to end; those that still live at the deadline."""
    pause_s = _POLL_FIRST_S
    while groups := {group for group in groups if group_lives(group)}:
        if time.monotonic() >= deadline:
            break
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _POLL_S)
    return groups


def _main(grace_s: float) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    rest = b""
    while data := os.read(0, _READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            change = groups.add if line.startswith(b"+") else groups.discard
            change(int(line[1:]))
    _end(groups, grace_s)


if __name__ == "__main__":
    _main(float(sys.argv[1]))
