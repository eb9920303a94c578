"""Connections to a NATS server that breaks them."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct

from rankmux.courier.connection import Connection
from rankmux.courier.settings import CourierSettings


def test_a_reset_under_unsent_bytes_ends_it() -> None:
    """nats-py flushes once more before it tidies up, which raises, and nothing would be tidied up then."""
    complaints: list[object] = []
    asyncio.run(_reset(complaints))
    assert complaints == []


async def _reset(complaints: list[object]) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    peers: list[asyncio.StreamWriter] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"version":"2.15.1","max_payload":1048576,"headers":true}\r\n')
        peers.append(writer)
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        settings = CourierSettings((f"nats://127.0.0.1:{port}",), "main", "s1")
        connection = Connection(settings, complaints.append)
        await connection.dial(settings.urls[0], None, "")

        async def take(_: object) -> None: ...

        await connection.subscribe("subject", take)
        await connection.check()  # the subscription has been sent
        (peer,) = peers
        client = connection._client
        client._pending.append(b"PUB subject 0\r\n\r\n")
        client._pending_data_size += 1
        peer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.transport.abort()
        async with asyncio.timeout(5):
            await connection.ended.wait()
        assert not connection.usable
        await asyncio.sleep(0)
        del connection, client
        gc.collect()
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in others if "nats" in repr(task)]
