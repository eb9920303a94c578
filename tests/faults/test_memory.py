"""Row R5: the system is out of memory. Each single allocation: `tests/server/test_server_memory.py`."""

from __future__ import annotations

import resource
import threading
from pathlib import Path

import pytest

from ..protocol.frames import QUIET, Command, encode
from ..protocol.peer import Peer
from ..support.patience import until
from .conftest import Rigging
from .test_slow_peers import BIG
from .witness import Witness, figure

ROOM_BYTES = 160 << 20


@pytest.mark.slow
def test_r5_memory_runs_out(rig: Rigging) -> None:
    """Without limits of the server, the longest queues are evicted, as often as needed; others are not affected."""
    huge = str(1 << 30)
    server = rig(
        20, "--outbox-soft-bytes", huge, "--outbox-hard-bytes", huge, "--outboxes-total-bytes", str(1 << 40)
    )
    server.rss_slack = 8 << 20
    sender = server.join()
    witness = Witness(server.join(), [server.join(), server.join()])
    stalled = [server.join(receive_buffer=4096) for _ in range(4)]
    taken = _virtual_bytes(server.pid)
    resource.prlimit(server.pid, resource.RLIMIT_AS, (taken + ROOM_BYTES, resource.RLIM_INFINITY))
    total = 12_000  # 750 MiB, each command for one receiver alone
    sending = threading.Thread(target=_fill, args=(sender, len(stalled), total))
    sending.start()
    peak = 0

    def all_gone() -> bool:
        nonlocal peak
        peak = max(peak, server.rss())
        return not sending.is_alive()

    until(all_gone, 120, "the sender is not done")
    sending.join()
    resource.prlimit(server.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    witness.finish()
    assert witness.p99() < 0.5
    assert peak - server.rss_before < ROOM_BYTES
    server.finish_keeping_the_log()
    assert server.closes()["slow"] == len(stalled)
    assert "memory is short" in server.log()
    figure(
        "R5",
        f"750 MiB for 4 who do not read, {ROOM_BYTES >> 20} MiB to be had: peak; p99 of the others",
        f"{(peak - server.rss_before) / 2**20:.0f} MiB; {witness.ms()}",
    )


def _virtual_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def _fill(sender: Peer, stalled: int, total: int) -> None:
    """Send big commands to each of the last `stalled` ranks in turn; commands to a vacant rank are refused."""
    sender.sock.settimeout(120)
    for number in range(total):
        rank = 4 + number % stalled
        sender.sock.sendall(encode(Command(number, 1, rank, QUIET, 0, bytes(BIG))))
