"""One command that `work` runs: its program from start to RESULT.

Output goes out as partial results, read no faster than the server takes it; what exceeds the bound is dropped, and the
final result says so.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from signal import Signals

from ...aio import ReceivedCommand, Status
from ...errors import ConnectionLost
from .child import Child

__all__ = ["finish_command"]


async def finish_command(child: Child, command: ReceivedCommand, output_max: int) -> str:
    """Send the output of `child` and its end as the results of `command`; how it ended, in words.

    Cancelled at the command's deadline, or by its sender, it stops the program and sends nothing more.
    """
    left, note = output_max, ""
    try:
        while data := await child.read():
            if len(data) > left:
                note = "the output was too long and has been cut"
            if piece := data[:left]:
                with suppress(ConnectionLost):  # the sender was told LEFT; the program runs on
                    await command.emit(piece)
            left -= len(piece)
        returncode = await child.wait()
    except asyncio.CancelledError:
        child.stop()
        while await child.read():  # a full pipe would keep it from cleaning up
            pass
        raise
    words = _words(returncode)
    if returncode == 0:
        status, text = Status.OK, f"[{note}]\n" if note else ""
    else:
        status, text = Status.FAILED, "; ".join(filter(None, (words, note)))
    with suppress(ConnectionLost):
        await command.finish(status, text)
    return words


def _words(returncode: int) -> str:
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"ended by {Signals(-returncode).name}"
    except ValueError:  # a real-time signal
        return f"ended by signal {-returncode}"
