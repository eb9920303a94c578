"""Row R5: the system is out of memory; what TLS takes. Each single allocation: `tests/server/test_server_memory.py`."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from pathlib import Path

import pytest

from rankmux.config import Config

from ..protocol.frames import QUIET, Command, encode
from ..protocol.peer import Peer
from ..support.memory_bound import most_bytes_of_tls
from ..support.patience import until
from .conftest import Rigging
from .rig import Ground, Rig
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


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tls", "mtls"])
def test_connections_over_tls(rig: Rigging, transport: str) -> None:
    """Members that have sent and not read full records, and stop in the middle of one, stay within the formula."""
    count, size = 120, 60_000
    flags = ("--send-buffer-bytes", "4096", "--frame-timeout-s", "60", "--ping-ms", "60000")
    server = rig(count + 2, *flags, ground=Ground(transport))
    members = [server.join(receive_buffer=4096, answers_pings=False) for _ in range(count)]
    idle = server.rss() - server.rss_before
    for member in members[1:]:  # refused: members above do not execute it
        member.send(Command(1, 1, 0, QUIET, 0, bytes(size)))
    members[0].send(*(Command(1, 0, 0, QUIET, 0, bytes(size)) for _ in range(4)))
    for member in members:
        with socket.socket(fileno=os.dup(member.sock.fileno())) as raw:
            raw.sendall(b"\x17\x03\x03\x40\x11" + bytes(16_000))
    until(lambda: _rests(server), 30, "it does not come to rest")
    grown = server.rss() - server.rss_before
    server.rss_slack = 16 << 20
    shared = 4 * (size + 100) + (4 << 20)  # what was sent to all, and the buffers of a turn
    most = most_bytes_of_tls(Config(seats=count, greeting_max=1, observers_max=0, tls_cert="there"))
    each = f"{idle // count >> 10} KiB idle, {(grown - shared) // count >> 10} KiB at most"
    figure("R5", f"a connection over {transport}, beside what is queued", each)
    assert count << 14 < grown < shared + most


def _rests(server: Rig) -> bool:
    before = server.cpu()
    time.sleep(0.3)
    return server.cpu() - before < 0.003


def _virtual_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def _fill(sender: Peer, stalled: int, total: int) -> None:
    """Send big commands to each of the last `stalled` ranks in turn; commands to a vacant rank are refused."""
    sender.sock.settimeout(120)
    for number in range(total):
        rank = 4 + number % stalled
        sender.sock.sendall(encode(Command(number, 1, rank, QUIET, 0, bytes(BIG))))
