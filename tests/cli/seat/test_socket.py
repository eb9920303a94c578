"""The control socket of a held seat: seats are held without it too, and its senders cannot make it work without end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from rankmux.cli.seat.socket import SeatSocket

from ...support.script import PATIENCE_S

SHOW = ["--", "sh", "-c", 'echo "seat ${RANKMUX_SEAT-none}"; [ -S "$RANKMUX_SEAT" ] && echo there; true']


def test_a_long_directory_for_temporary_files(scene, tmp_path):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    code, out, err = scene.run("wait", *SHOW, env={"TMPDIR": long})
    assert (code, err) == (0, "Assigned rank: 0\n")
    assert "there" in out, "a shorter one is taken"
    assert not list(long.iterdir())


@pytest.fixture
def read_only(tmp_path: Path) -> dict[str, object]:
    """An environment in which no directory can be created."""
    (tmp_path / "sitecustomize.py").write_text(
        "import errno, os\n"
        "def mkdir(*_, **__):\n"
        "    raise OSError(errno.EROFS, os.strerror(errno.EROFS))\n"
        "os.mkdir = mkdir\n"
    )
    return {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())]),
        "RANKMUX_SEAT": "/of/another/seat",
    }


@pytest.mark.parametrize("subcommand", ["wait", "work", "hold"])
def test_nowhere_to_put_it(scene, read_only, subcommand):
    """Other processes cannot use the seat; losing the lock because of that would be worse."""
    if subcommand == "wait":
        code, out, err = scene.run("wait", *SHOW, env=read_only)
        assert (code, out) == (0, "seat none\n")
    else:
        script = scene.joined(subcommand, *(SHOW if subcommand == "work" else []), env=read_only)
        assert script.end(signal.SIGTERM) == 0
        err = script.err
    assert "no socket for `send` and `who` here: Read-only file system" in err
    assert "Traceback" not in err


UNDER_WAY = 320


class SlowSeat:
    """A seat whose server does not answer before `answered` is set."""

    def __init__(self) -> None:
        self.answered, self.more = asyncio.Event(), asyncio.Event()
        self.asked = 0
        self.client = SimpleNamespace(rank=0, ticket=1, member_count=1, max_payload=100, who=self.who)

    async def who(self) -> list[object]:
        self.asked += 1
        if self.asked > UNDER_WAY:
            self.more.set()
        await self.answered.wait()
        return []


def test_requests_are_read_no_faster_than_they_are_answered(tmp_path):
    """A sender that asks without end finds its socket full; every request is answered, and other senders are served."""

    async def lines(reader: asyncio.StreamReader, count: int) -> list[bytes]:
        return [await asyncio.wait_for(reader.readline(), PATIENCE_S) for _ in range(count)]

    async def main() -> None:
        seat = SlowSeat()
        offer = SeatSocket(str(tmp_path / "seat"))
        await offer.serve(seat)
        with socket.socket(socket.AF_UNIX) as greedy:
            greedy.setblocking(False)
            greedy.connect(str(offer.path))
            sent = b"".join(b'{"do": "who", "id": %d}\n' % n for n in range(50_000))
            taken = 0
            for _ in range(200):
                try:
                    taken += greedy.send(sent[taken:])
                except BlockingIOError:
                    await asyncio.sleep(0.001)
            assert taken < len(sent) // 2
            assert seat.asked == UNDER_WAY
            other, writer = await asyncio.open_unix_connection(str(offer.path))
            writer.write(b'{"do": "who", "id": 1}\n')
            await lines(other, 1)
            await asyncio.wait_for(seat.more.wait(), PATIENCE_S)
            seat.answered.set()
            assert b'"id":1' in (await lines(other, 1))[0]
            reader, greedy_writer = await asyncio.open_unix_connection(sock=greedy.dup())
            asked = sent[:taken].count(b"\n")
            assert sum(b'"members"' in line for line in await lines(reader, 1 + asked)) == asked
            writer.write(b'{"do": "watch", "id": 1}\n' * 2)
            assert b"watch already" in await asyncio.wait_for(other.read(), PATIENCE_S)
        for each in (writer, greedy_writer):
            each.close()
            await each.wait_closed()
        async with asyncio.timeout(PATIENCE_S):
            while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - the senders of the other side
                await asyncio.sleep(0.001)
        offer.close()

    asyncio.run(main())
