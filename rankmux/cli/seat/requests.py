"""Requests of one sender to a held seat, and the replies to them, both as in `protocol`. It knows no socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ...aio import Counts, Receipt, RoutedResult
from ...core.wire.codes import U32_MAX, RefusedCode
from ...errors import LocalError, RankmuxError, StateError
from ..shared.targets import Target, target_of
from . import protocol
from .protocol import ControlError, Header
from .seat import Seat

__all__ = ["Requests"]

_OPEN_MAX = 256  # commands of one sender; a server allows the whole seat 1,024
_UNDER_WAY_MAX = (
    _OPEN_MAX + 64
)  # requests of all kinds; a sender's further ones are read when some have ended


def _number(header: Header, key: str) -> int:
    value = header.get(key)
    if type(value) is not int or not 0 <= value <= U32_MAX:
        raise ControlError(f"{key} is {value!r}: expected a number from 0 to {U32_MAX}")
    return value


def _target(header: Header, payload: bytes) -> tuple[Target | tuple[int, ...], bytes]:
    to = header.get("to")
    if isinstance(to, str) and to in {"all", "next", "least"}:
        return target_of(to), payload
    return protocol.tickets_and_payload(_number(header, "to"), payload)


class Requests:
    """One sender's requests to `seat`; `reply` sends a reply."""

    def __init__(self, seat: Seat, reply: Callable[[Header, bytes], None]) -> None:
        self._seat = seat
        self._reply = reply
        self._open: dict[int, Receipt | None] = {}
        self._cancelled: set[int] = set()  # before the server has dispatched them
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._closed = False

    def greet(self) -> None:
        """Send the seat's place and limits."""
        fields = ("rank", "ticket", "member_count", "max_payload")
        about = {field: getattr(self._seat.client, field) for field in fields}
        self._reply({"is": "seat", "version": protocol.VERSION, **about}, b"")

    def request(self, header: Header, payload: bytes) -> None:
        """Do what the sender asks for; the replies come later. Raises ControlError when it broke a rule."""
        do, id_ = header.get("do"), _number(header, "id")
        if do == "command":
            self._command(id_, header, payload)
        elif do == "cancel":
            self._cancel(id_)
        elif do == "who":
            self._begin(self._simple(id_, self._who(id_)))
        elif do == "yield":
            self._begin(self._simple(id_, self._yielded(id_)))
        elif do == "baton":
            self._begin(self._simple(id_, self._baton(id_, payload if header.get("write") is True else None)))
        elif do == "watch":
            if self._watching is not None:
                raise ControlError("you watch already")
            self._watching = self._begin(self._watch(id_))
        else:
            raise ControlError(f"do is {do!r}: it is none of those that are known")

    def close(self) -> None:
        """The sender has gone. Its requests are still carried out, without replies."""
        self._closed = True
        if self._watching is not None:
            self._watching.cancel()

    async def until_ready(self) -> None:
        """Wait until another request may be made: no sender has more work done at a time than it is answered."""
        while len(self._tasks) >= _UNDER_WAY_MAX:
            self._ended.clear()
            await self._ended.wait()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ended.set()

    def _command(self, id_: int, header: Header, payload: bytes) -> None:
        to, payload = _target(header, payload)
        ttl_ms, results = _number(header, "ttl_ms"), header.get("results")
        if id_ in self._open:
            raise ControlError(f"the id {id_} belongs to a command under way")
        if not isinstance(results, bool):
            raise ControlError(f"results is {results!r}: expected true or false")
        if len(self._open) >= _OPEN_MAX:
            text = f"{_OPEN_MAX} of your commands wait for results"
            self._reply({"is": "refused", "id": id_, "code": int(RefusedCode.BUSY)}, text.encode())
            return
        self._open[id_] = None
        self._begin(self._answers(id_, to, results, ttl_ms, payload))

    def _cancel(self, id_: int) -> None:
        if id_ not in self._open:
            return  # it has ended meanwhile
        receipt = self._open[id_]
        if receipt is None:
            self._cancelled.add(id_)
        else:
            receipt.cancel()  # a receipt is kept only for a command with results

    async def _answers(
        self, id_: int, to: Target | tuple[int, ...], results: bool, ttl_ms: int, payload: bytes
    ) -> None:
        timeout_s = ttl_ms / 1000 if ttl_ms else None
        async for answer in self._seat.answers(payload, to, results=results, timeout_s=timeout_s):
            if isinstance(answer, Receipt) and results and id_ in self._cancelled:
                answer.cancel()
            if self._closed:
                return
            if isinstance(answer, Counts | RankmuxError) or not results:
                self._open.pop(id_, None)
                self._cancelled.discard(id_)
            match answer:
                case Receipt():
                    if id_ in self._open:
                        self._open[id_] = answer
                    self._reply(protocol.accepted(id_, answer), b"")
                case RoutedResult():
                    self._reply(protocol.result(id_, answer), answer.payload)
                case Counts():
                    self._reply(protocol.done(id_, answer), b"")
                case error:
                    self._reply(*protocol.ended(id_, error, sent=not isinstance(error, LocalError)))

    async def _simple(self, id_: int, answer: Coroutine[Any, Any, tuple[Header, bytes]]) -> None:
        """Reply with `answer`, or with the error that comes instead."""
        try:
            reply = await answer
        except (RankmuxError, TimeoutError) as error:
            reply = protocol.ended(id_, error, sent=not isinstance(error, LocalError))
        if not self._closed:
            self._reply(*reply)

    async def _who(self, id_: int) -> tuple[Header, bytes]:
        self._check_connected("listing the members")
        return protocol.listed(id_, await self._seat.client.who())

    async def _yielded(self, id_: int) -> tuple[Header, bytes]:
        self._check_connected("stepping back")
        return {"is": "yielded", "id": id_, "rank": await self._seat.step_back()}, b""

    async def _baton(self, id_: int, note: bytes | None) -> tuple[Header, bytes]:
        self._check_connected("the baton")
        if note is None:
            note = await self._seat.baton()
        else:
            await self._seat.client.set_baton(note)
        return {"is": "baton", "id": id_}, note

    def _check_connected(self, step: str) -> None:
        if self._seat.client.rank is None:
            raise StateError(step, "there is no connection")

    async def _watch(self, id_: int) -> None:
        """Look on by a connection of its own: the seat's is none of those that are told of each change."""
        try:
            async with self._seat.observer() as observer:
                watch = await observer.watch()
                self._reply(*protocol.listed(id_, watch.members))
                async for change in watch:
                    self._reply(protocol.changed(id_, change), b"")
        except (RankmuxError, TimeoutError) as error:
            self._reply(*protocol.ended(id_, error, sent=True))
