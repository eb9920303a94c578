"""The courier's process: `python -m rankmux.courier FD`, with the descriptor of a socket to its server."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable

from ..system.extras import how_to_get
from .frames import Kind, pack_frame

__all__ = ["main"]

_MISSING = "a cluster needs nats-py, which is not installed ({}): " + how_to_get("cluster")


def main() -> None:
    """Carry until the server closes the socket: nothing else ends us in order, not even what ends our server."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end = socket.socket(fileno=int(sys.argv[1]))
    try:
        from .program import carry
    except ImportError as error:
        end.sendall(pack_frame(Kind.FAILED, _MISSING.format(error).encode()))
        while end.recv(4096):
            pass
        return
    asyncio.run(_run(carry, end))


async def _run(carry: Callable[[socket.socket], Awaitable[None]], end: socket.socket) -> None:
    code = 1
    try:
        await carry(end)
        code = 0
    except ConnectionError:
        code = 0  # the server is gone
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stderr.flush()
        os._exit(code)  # a task of nats-py may not heed its cancellation


if __name__ == "__main__":
    main()
