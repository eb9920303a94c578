"""Appends that nobody answers: a trouble, as a refusal is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rankmux.courier.appending import Appender
from rankmux.courier.settings import CourierSettings

SETTINGS = CourierSettings(("nats://a",), "main", "s1")


class Nats:
    """A connection whose messages go nowhere; `answer` calls back as NATS does."""

    def __init__(self) -> None:
        self.now = 100.0
        self.told: list[str] = []
        self.asked = 0
        self._take: Callable[[Any], Awaitable[None]]

    def inbox(self) -> str:
        return "inbox"

    async def subscribe(self, _: str, take: Callable[[Any], Awaitable[None]]) -> None:
        self._take = take

    async def publish(self, _subject: str, _data: bytes, reply: str, _headers: object) -> None:
        self.asked += bool(reply)

    async def answer(self, error: object = None) -> None:
        await self._take(SimpleNamespace(headers=None, data=json.dumps({"error": error}).encode()))


def run(work: Callable[[Nats, Appender], Awaitable[None]]) -> Nats:
    async def with_one() -> Nats:
        nats = Nats()
        appender = Appender(cast("Any", nats), SETTINGS, nats.told.append, lambda: nats.now)
        await appender.begin()
        await work(nats, appender)
        return nats

    return asyncio.run(with_one())


@pytest.mark.parametrize(("silent_s", "told"), [(4.0, False), (6.0, True)])
def test_a_nats_that_answers_no_append_is_told(silent_s: float, told: bool) -> None:
    """Its disk may be full, or hang: it says nothing then."""

    async def work(nats: Nats, appender: Appender) -> None:
        for _ in range(round(silent_s * 2) + 1):
            await appender.append(b"entry", first=False)
            nats.now += 0.5

    found = run(work).told
    assert bool(found) is told
    assert all("does not say that it has stored entries" in text for text in found)


def test_one_that_answers_now_and_then_is_not() -> None:
    async def work(nats: Nats, appender: Appender) -> None:
        for _ in range(10):
            for _ in range(6):
                await appender.append(b"entry", first=False)
                nats.now += 0.5
            await nats.answer()

    assert set(run(work).told) == {""}


def test_no_answer_is_waited_for_while_nothing_is_appended() -> None:
    async def work(nats: Nats, appender: Appender) -> None:
        await appender.append(b"entry", first=False)
        await nats.answer()
        nats.now += 100
        await appender.append(b"entry", first=False)
        assert nats.asked == 2

    assert run(work).told == [""]
