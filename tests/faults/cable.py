"""A TCP proxy on loopback whose two directions can be cut and mended independently, without closing anything.

Data or an end of stream that arrives at a cut is held, and forwarded when the cable is mended, as TCP would resend it.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

__all__ = ["Cable"]

_CHUNK_BYTES = 65_536


class Cable:
    """A proxy to `port`. `to_server` and `to_client` are the directions: set while they forward."""

    def __init__(self, port: int) -> None:
        self._to_port = port
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.to_server = asyncio.Event()
        self.to_client = asyncio.Event()
        self.delay_s = 0.0
        self.mend()

    async def open(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Stop, and reset all connections."""
        assert self._server is not None
        self._server.close()
        self.reset()

    def reset(self) -> None:
        """Reset all connections."""
        for end in self._ends:
            end.transport.abort()

    def mend(self) -> None:
        """Forward in both directions, without delay."""
        self.delay_s = 0.0
        self.to_server.set()
        self.to_client.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            beyond, server = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, server}
        self._ends |= ends
        for end in ends:
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(
            self._forward(reader, server, self.to_server), self._forward(beyond, writer, self.to_client)
        )
        for end in ends:
            end.transport.abort()
        self._ends -= ends

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, whole: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                await whole.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        await whole.wait()
        with suppress(OSError, RuntimeError):
            writer.write_eof()
