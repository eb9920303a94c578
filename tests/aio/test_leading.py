"""Terms of the asyncio client: waiting for one is cancelled, and for its end, without a trace."""

from __future__ import annotations

import asyncio

import pytest

from rankmux.aio import Client, SeatReturned
from rankmux.wire import Welcome

from ..support.fake_server import WELCOME, Connection, FakeServer


def test_waiting_for_a_term_and_for_its_end_can_be_cancelled(run, server):
    async def main() -> None:
        host, port = server.address
        async with Client(host, port) as ada, Client(host, port) as bob:
            async with ada.lead() as term:
                ends = asyncio.create_task(term.wait())
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01), bob.lead():
                        pass
                assert not ends.done()
                await ada.step_down()
                assert await ends
            async with bob.lead() as following:
                waiting = asyncio.create_task(following.wait())
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert not following.over
                with pytest.raises(ValueError, match="of the block"):
                    async with bob.lead():
                        raise ValueError("of the block")
            assert len(bob._connection.waiters) == 0

    run(main())


def test_the_events_of_a_kept_seat(run, at_once):
    def script(frame: Welcome, last: bool) -> object:
        def welcome(connection: Connection) -> None:
            connection.read_until(0x01)
            connection.send(frame)
            if last:
                connection.until_gone()

        return welcome

    kept = WELCOME._replace(keep_ms=60_000)

    async def main(fake: FakeServer) -> None:
        async with Client(fake.host, fake.port, keep_s=60) as client:
            seen = []
            events = client.events()
            async for event in events:
                seen.append(event)
                if isinstance(event, SeatReturned):
                    break
            kinds = [type(event).__name__ for event in seen]
            assert kinds[-4:] == ["SeatAbsent", "Ended", "Welcomed", "SeatReturned"]
            assert client.rank == 2

    with FakeServer(script(kept, False), script(kept._replace(returned=True), True)) as fake:
        run(main(fake))
