"""The courier's program: takes what the server asks for, keeps the log open, and keeps at it.

It lives as long as the socket to its server. `__main__` starts it; what it does not foresee ends it, and the server
starts another one.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Coroutine

from ..errors import ConfigError
from .appending import Appender
from .connection import ApiError, Connection, TooOld, Unreachable
from .credentials import read_credentials, tls_context
from .frames import FrameDecoder, Kind, Position, pack_frame, unpack_seq
from .judging import stream_faults
from .opening import Refused, look, open_log
from .reading import Consumer
from .settings import CourierSettings, shown
from .snapshots import newest_snapshot, store_snapshot
from .troubles import Troubles

__all__ = ["Courier", "carry"]

_READ_BYTES = 1 << 16  # from 128 KiB on, each would be fresh memory of the kernel
_ALIVE_S = 1.0
_LOOK_S = 2.0
_SENT_S = 2.0
_CUT_OFF_S = 5.0
_PATIENCE_S = 3.0
"""A NATS server at which the log cannot be opened for that long is left for another one."""
_STORE_AGAIN_S = 5.0
_WAIT_S = 0.2
_WAIT_MAX_S = 1.0


async def carry(end: socket.socket) -> None:
    """Serve the server at the other end, until it closes."""
    reader, writer = await asyncio.open_connection(sock=end, limit=_READ_BYTES)
    writer.transport.set_write_buffer_limits(high=0)  # so that `drain` waits until the kernel has it all
    await Courier(reader, writer).run()


class Courier:
    """One server's courier."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = asyncio.get_running_loop().time
        self._troubles = Troubles(
            lambda text: self._tell(Kind.TROUBLE, text.encode()),
            lambda text: self._tell(Kind.REACHED, text.encode()),
            self._clock,
        )
        self._applied = 0
        self._created = ""
        self._following = 0  # an entry that a consumer left out
        self._where = ""
        self._kept = 0  # the entry of the newest snapshot that is known
        self._snapshot: tuple[int, bytes] | None = None
        self._to_store = asyncio.Event()
        self._appender: Appender | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Do what the server says, until it closes the socket. What a task raises ends all."""
        self._begin(self._obey())
        self._begin(self._show_life())
        await self._over

    def _begin(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        """A task has ended. Those that should not have ended by themselves end us."""
        self._tasks.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._over.done():
            self._over.set_exception(error)

    def _tell(self, kind: Kind, *parts: bytes | int) -> None:
        self._writer.write(pack_frame(kind, *parts))

    async def _show_life(self) -> None:
        while True:
            self._tell(Kind.ALIVE)
            await asyncio.sleep(_ALIVE_S)

    # What the server says.

    async def _obey(self) -> None:
        decoder = FrameDecoder()
        settings: CourierSettings | None = None
        while data := await self._reader.read(_READ_BYTES):
            decoder.receive_data(data)
            entries: list[tuple[Kind, bytes]] = []
            for kind, body in decoder.frames():
                match kind:
                    case Kind.SETTINGS:
                        settings = CourierSettings.unpack(body)
                    case Kind.OPEN if settings is not None:
                        position, _ = Position.unpack(body)
                        self._applied, self._created = position.last, position.created
                        self._begin(self._keep_open(settings))
                    case Kind.STORE:
                        self._snapshot = unpack_seq(body)
                        self._to_store.set()
                    case _:
                        entries.append((kind, body))
            await self._append(entries)
        if not self._over.done():
            self._over.set_result(None)

    async def _append(self, entries: list[tuple[Kind, bytes]]) -> None:
        """Send them; those that cannot be sent now are dropped: the server sends again what it does not read back."""
        try:
            async with asyncio.timeout(_SENT_S):
                for kind, entry in entries:
                    if self._appender is None:
                        return
                    await self._appender.append(entry, first=kind is Kind.FIRST)
        except TimeoutError:
            return
        except Unreachable as error:
            self._troubles.has("append", f"an entry cannot be sent: {error}")

    # The log.

    async def _keep_open(self, settings: CourierSettings) -> None:
        """Have a connection, and the log open over it; another one when that ends."""
        while True:
            try:
                tls = tls_context(settings)
                read_credentials(settings.creds)
            except ConfigError as error:
                text = f"the credentials or certificates for NATS cannot be used: {error}"
            else:
                break
            if not self._created:
                self._refuse(text)
                return
            self._troubles.has("dial", text)  # they are replaced at the moment, perhaps: the server is up
            await asyncio.sleep(_WAIT_MAX_S)
        urls = list(settings.urls)
        random.shuffle(urls)
        while True:
            connection, url = await self._dial(settings, urls, tls)
            self._where = shown(url)
            try:
                await self._use(connection, settings)
            except Refused as refused:
                self._refuse(str(refused))
                return
            except Unreachable as error:
                self._troubles.has("log", f"the log cannot be used over {self._where}: {error}")
            finally:
                self._appender = None
                await connection.close()

    async def _dial(
        self, settings: CourierSettings, urls: list[str], tls: ssl.SSLContext | None
    ) -> tuple[Connection, str]:
        """A connection to one of the URLs, whose order it turns; none while all servers are too old."""
        wait = _WAIT_S
        while True:
            errors: dict[str, Exception] = {}
            for url in list(urls):
                urls.append(urls.pop(0))
                connection = Connection(settings, lambda text: self._troubles.has("permission", text))
                try:
                    await connection.dial(url, tls, read_credentials(settings.creds))
                except (Unreachable, ConfigError, OSError, ValueError) as error:
                    errors[shown(url)] = error
                else:
                    return connection, url
            text = "; ".join(f"{where}: {error}" for where, error in sorted(errors.items()))
            if all(isinstance(error, TooOld) for error in errors.values()):
                self._refuse(text)
                await asyncio.Event().wait()
            self._troubles.has("dial", f"no NATS server can be used: {text}")
            await asyncio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - no secret
            wait = min(2 * wait, _WAIT_MAX_S)

    async def _use(self, connection: Connection, settings: CourierSettings) -> None:
        """Have the log open over this connection, until that ends or does not serve. Raises Refused, Unreachable."""
        appender = Appender(connection, settings, self._complain, self._clock)
        await appender.begin()
        reopen = asyncio.Event()
        helpers = [
            self._begin(self._look(connection, settings, reopen)),
            self._begin(self._store(connection, settings)),
        ]
        since = self._clock()
        try:
            while connection.usable:
                try:
                    await self._read(connection, settings, appender, reopen)
                    since = self._clock()
                except (ApiError, Unreachable) as error:
                    self._troubles.has("log", f"the log cannot be used over {self._where}: {error}")
                    await connection.check()
                    if self._clock() > since + _PATIENCE_S:
                        raise Unreachable(str(error)) from None
                    await asyncio.sleep(_WAIT_S)
        finally:
            for task in helpers:
                task.cancel()

    async def _read(
        self, connection: Connection, settings: CourierSettings, appender: Appender, reopen: asyncio.Event
    ) -> None:
        """Open the log, and read it with one consumer. Raises Refused, ApiError, Unreachable."""
        reopen.clear()
        found = await open_log(connection, settings, self._applied, self._created, following=self._following)
        if found.following > found.position.last + 1:
            # Entries at the end of the log were lost. The server is told, and nothing else: it decides.
            self._tell(Kind.OPENED, found.position.pack())
            await asyncio.sleep(_LOOK_S)
            return
        consumer = Consumer(connection, settings, found.following, self._deliver)
        try:
            await consumer.make()
            if found.position.created != self._created:
                self._kept = 0
            self._created, self._applied = found.position.created, found.following - 1
            self._following = 0
            self._tell(Kind.OPENED, found.position.pack(), found.data)
            self._appender = appender
            self._troubles.over("dial", "log", text=self._where)
            if await consumer.run(reopen):
                self._following = self._applied + 1
        finally:
            await consumer.close()

    async def _look(self, connection: Connection, settings: CourierSettings, reopen: asyncio.Event) -> None:
        """Notice what is silent: the stream is gone, is another one, is set otherwise; this NATS server is cut off.

        One that is cut off from the others goes on with its heartbeats.
        """
        answered = self._clock()
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                info = await look(connection, settings)
                if info is not None and info["created"] == self._created:
                    await self._look_at_beginning(connection, settings, int(info["state"]["first_seq"]))
            except (ApiError, Unreachable) as error:
                if self._clock() > answered + _CUT_OFF_S:
                    self._troubles.has("log", f"the log cannot be used over {self._where}: {error}")
                    connection.abort()
                continue
            answered = self._clock()
            if (
                info is None
                or (self._created and info["created"] != self._created)
                or stream_faults(info["config"], settings, replicas=False)
            ):
                reopen.set()

    async def _look_at_beginning(self, connection: Connection, settings: CourierSettings, first: int) -> None:
        """Have a snapshot made if the log begins at an entry behind the newest one: somebody has purged it."""
        why = "no snapshot reaches it: somebody has purged it"
        if first > self._kept + 1:
            try:
                self._kept, _ = await newest_snapshot(connection, settings, self._created)
            except Unreachable as error:
                why = str(error)
        if first <= self._kept + 1:
            self._troubles.over("purged", text=self._where)
            return
        self._troubles.has(
            "purged",
            f"the stream {settings.stream} begins at entry {first}, and {why}. No server can begin before one that is "
            "up has stored a snapshot, which it does now",
        )
        self._tell(Kind.LACKING)

    async def _store(self, connection: Connection, settings: CourierSettings) -> None:
        """Write the snapshots that the server makes, and drop what they make needless."""
        while True:
            await self._to_store.wait()
            if self._snapshot is None or not self._created:
                self._to_store.clear()
                continue
            seq, snapshot = taken = self._snapshot
            try:
                older = await store_snapshot(connection, settings, self._created, seq, snapshot)
                if older:
                    await connection.ask(f"STREAM.PURGE.{settings.stream}", {"seq": older + 1})
            except (ApiError, Unreachable) as error:
                self._troubles.has("snapshot", f"no snapshot can be stored, so the log only grows: {error}")
                await asyncio.sleep(_STORE_AGAIN_S)
                continue
            self._troubles.over("snapshot", text=self._where)
            self._tell(Kind.STORED, seq)
            self._kept = seq
            if self._snapshot is taken:
                self._snapshot = None
                self._to_store.clear()

    async def _deliver(self, seq: int, stored_ms: int, last: int, entry: bytes) -> None:
        self._applied = seq
        self._tell(Kind.READ, seq, stored_ms, last, entry)
        await self._writer.drain()

    def _complain(self, text: str) -> None:
        if text:
            self._troubles.has("append", text)
        else:
            self._troubles.over("append", "permission", text=self._where)

    def _refuse(self, text: str) -> None:
        self._tell(Kind.FAILED, text.encode())
