"""The loop that accepts: connections off a listening socket, each with the bytes that have come with it.

Sockets are handed in; nothing here listens or waits. `accept.pxi` is the compiled twin.
"""

from __future__ import annotations

import errno

from ..._twin import twin
from ..sockets.addresses import text_address
from ..sockets.listener import ListeningSocket, Newcomer
from ..sockets.transport import PlainSocket

__all__ = ["accept"]


@twin
def accept(listening: ListeningSocket, newcomers: list[Newcomer], most: int, size: int) -> int:
    """Accept connections until there are `most` newcomers, and read up to `size` bytes of each; 0 reads nothing.

    They go into `newcomers`, non-blocking, as (socket, address as a text, what was read): bytes, b"" for the end of the
    stream, the errno of a failure, or None when there is nothing yet. The address of a Unix socket is "". Returns the
    errno that ended it: EAGAIN when nobody waits any more, 0 when there are `most`.
    """
    while len(newcomers) < most:
        try:
            sock, address = listening.accept_plainly()
        except OSError as error:
            return error.errno or errno.EAGAIN
        except (MemoryError, SystemError):  # SystemError: accept failed without setting an exception
            return errno.ENOMEM
        try:
            sock.setblocking(False)
            text = text_address(address) if isinstance(address, tuple) else ""
            newcomers.append((sock, text, _read(sock, size)))
        except (OSError, MemoryError) as error:
            sock.close()
            return (error.errno if isinstance(error, OSError) else None) or errno.ENOMEM
    return 0


def _read(sock: PlainSocket, size: int) -> bytes | int | None:
    if not size:
        return None
    try:
        return sock.recv(size)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        return error.errno or errno.EIO
