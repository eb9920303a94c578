"""Rows O: errors of the operating system. `strace -e inject` makes single calls of the server fail."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ..protocol.frames import Cause, Execute, Rank
from ..protocol.peer import Peer
from ..protocol.process import ROOT, environment
from ..support.patience import until
from .conftest import Rigging
from .rig import Rig, start_s
from .witness import Witness


class Injector:
    """strace attached to a running server: calls fail as given by `what` (`accept4:error=EMFILE:when=1..3`)."""

    def __init__(self, strace: str, server: Rig, what: str) -> None:
        self._process = subprocess.Popen(
            [
                strace,
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                f"trace={what.partition(':')[0]}",
                "-e",
                f"inject={what}",
                "-p",
                str(server.pid),
            ],
            stderr=subprocess.DEVNULL,
        )
        status = Path(f"/proc/{server.pid}/status")
        until(lambda: f"TracerPid:\t{self._process.pid}\n" in status.read_text(), 5, "strace does not attach")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(5)


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
def test_o1_accept_has_no_resources(rig: Rigging, strace: str, name: str) -> None:
    """The listener pauses 100, 200, 400 ms; one line is logged; members are unaffected; then the backlog is served."""
    server = rig(10)
    witness = Witness(server.join(), [server.join(), server.join()])
    injector = Injector(strace, server, f"accept4:error={name}:when=1..3")
    try:
        began = time.monotonic()
        late = server.join("served in the end")
        took = time.monotonic() - began
        assert 0.6 < took < 2.0
        assert late.joined.rank == 3
    finally:
        injector.stop()
    witness.finish()
    assert witness.keeps(0.2), witness.ms()
    assert server.log().count("accepting paused") == 1
    assert server.log().count("accepting again") == 1


def test_o1_a_server_without_free_descriptors(rig: Rigging) -> None:
    """No spinning without descriptors; the backlog is served within a second after one becomes free."""
    limit = 140

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    server = rig(
        40,
        "--greeting-max",
        "1000",
        "--greeting-max-per-address",
        "1000",
        "--handshake-timeout-s",
        "60",
        "--observers-max",
        "0",
        preexec=few,
    )
    witness = Witness(server.join(), [server.join()])
    silent = [server.plain() for _ in range(limit)]
    until(lambda: server.descriptors() >= limit, 5, "there are descriptors left")
    cpu = server.cpu()
    time.sleep(1.0)
    assert server.cpu() - cpu < 0.3, "it spins"
    waiting = server.plain()
    for each in silent[:20]:
        each.close()
    freed = time.monotonic()
    for each in silent[20:]:
        each.close()
    waiting.sendall(bytes.fromhex("0000000801010000000000 00".replace(" ", "")))
    waiting.settimeout(5)
    assert waiting.recv(100)[4] == 0x81
    assert time.monotonic() - freed < 1.5
    waiting.close()
    witness.finish()
    assert server.log().count("accepting paused") <= 2


@pytest.mark.parametrize("name", ["ECONNABORTED", "EPROTO", "EINTR", "EPERM"])
def test_o2_accept_fails_for_one_connection(rig: Rigging, strace: str, name: str) -> None:
    server = rig(10)
    injector = Injector(strace, server, f"accept4:error={name}:when=1..2")
    try:
        began = time.monotonic()
        server.join()
        assert time.monotonic() - began < 0.5
    finally:
        injector.stop()
    assert "accepting paused" not in server.log()


@pytest.mark.parametrize("name", ["EPIPE", "ECONNRESET", "ETIMEDOUT"])
def test_o3_send_fails_in_a_fan_out(rig: Rigging, strace: str, name: str) -> None:
    """Only that peer is closed, and the first errno is the reason."""
    server = rig(10)
    sender, *juniors = server.line(4)
    injector = Injector(strace, server, f"sendto,sendmsg:error={name}:when=2")
    try:
        sender.command(1, payload=b"to three", quiet=True)
        for junior in (juniors[0], juniors[2]):
            junior.expect_execute(0, b"to three")
        juniors[2].expect(Rank, rank=2, members=3, cause=Cause.LOST)
    finally:
        injector.stop()
    sender.command(2, payload=b"to two", quiet=True)
    for junior in (juniors[0], juniors[2]):
        junior.expect_execute(0, b"to two")
    assert f"reset ({name})" in server.log()


@pytest.mark.parametrize("name", ["ENOBUFS", "ENOMEM"])
def test_o4_send_has_no_buffers(rig: Rigging, strace: str, name: str) -> None:
    """The output is kept and sent again later, without spinning."""
    server = rig(10)
    sender, *juniors = server.line(4)
    injector = Injector(strace, server, f"sendto,sendmsg:error={name}:when=2..8")
    try:
        sender.command(1, payload=b"to all three", quiet=True)
        for junior in juniors:
            junior.expect_execute(0, b"to all three")
    finally:
        injector.stop()
    assert sender.who().total == 4


def test_o5_a_new_socket_can_not_be_set_up(rig: Rigging, strace: str) -> None:
    """It closes, and no seat is used."""
    server = rig(4)
    server.line(2)
    injector = Injector(strace, server, "epoll_ctl:error=ENOSPC:when=1")
    try:
        doomed = server.plain()
        doomed.settimeout(5)
        with suppress(ConnectionResetError):
            assert doomed.recv(100) == b""
        doomed.close()
    finally:
        injector.stop()
    assert server.join().joined.rank == 2


def test_o6_too_few_descriptors(rig: Rigging) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

    allowed = "the system allows 200 open files"
    with pytest.raises(
        AssertionError, match=rf"seats is 89: expected at most 88 beside 16 observers: {allowed}"
    ):
        Rig(89, preexec=few)
    with pytest.raises(AssertionError, match=rf"seats is 105: expected at most 104: {allowed}"):
        Rig(105, "--observers-max", "0", preexec=few)
    with pytest.raises(AssertionError, match=rf"observers-max is 104: expected at most 103: {allowed}"):
        Rig(1, "--observers-max", "104", preexec=few)
    rig(88, preexec=few)
    rig(4, "--observers-max", "100", preexec=few)


def test_o7_the_port_is_in_use(rig: Rigging) -> None:
    server = rig(4)
    within_s = 1.0 + start_s()
    began = time.monotonic()
    second = subprocess.run(
        [sys.executable, "-m", "rankmux", "server", "--port", str(server.port)],
        cwd=ROOT,
        env=environment(False),
        capture_output=True,
        check=False,
        timeout=10,
    )
    assert time.monotonic() - began < within_s
    assert second.returncode == 2
    assert re.fullmatch(rb"rankmux-server: .*127\.0\.0\.1:\d+.*in use.*\n", second.stderr), second.stderr
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use") as failure:
            other.bind((server.host, server.port))
        assert failure.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("broken", [False, True], ids=["full", "broken"])
def test_o8_a_log_without_a_reader(broken: bool) -> None:
    """Lines are dropped and counted; the server never waits for a reader of its log or standard output."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(
        [sys.executable, "-m", "rankmux", "server", "--port", "0", "-n", "4", "--log-lines-per-s", "100000"],
        cwd=ROOT,
        env=environment(False),
        stdout=subprocess.PIPE,
        stderr=writer,
    )
    os.close(writer)
    try:
        assert process.stdout is not None
        found = re.search(rb":(\d+) for", process.stdout.readline())
        assert found
        process.stdout.close()
        if broken:
            os.close(reader)
        first, second = Peer("127.0.0.1", int(found[1])), Peer("127.0.0.1", int(found[1]))
        first.hello()
        second.hello()
        for number in range(300):
            first.command(number, payload=b"a line of the log each", quiet=True)
        for _ in range(300):
            second.expect(Execute)
        if not broken:
            assert b"joined" in os.read(reader, 65_536)
            first.command(1, payload=b"one more", quiet=True)
            second.expect(Execute)
            assert re.search(rb"\d+ log lines were dropped", _read(reader))
        first.close()
        second.close()
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        if not broken:
            os.close(reader)


def _read(fd: int) -> bytes:
    data = b""
    while b"dropped" not in data:
        assert select.select([fd], [], [], 5)[0], data
        data += os.read(fd, 65_536)
    return data
