"""Logs without a reader: whatever standard error is, members are served as usual."""

from __future__ import annotations

import os
import pty
import re
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from ..protocol.frames import Execute
from ..protocol.peer import Peer
from ..protocol.process import ROOT, environment
from ..support.patience import until

FILL = "import os\nwhile True: os.write(1, b'y' * 4096)"


@contextmanager
def server(stderr: int, stdout: int = subprocess.PIPE, port: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [
            sys.executable,
            *["-m", "rankmux", "server", "-n", "4", "--log-lines-per-s", "100000", "--port"],
            str(port),
        ],
        cwd=ROOT,
        env=environment(False),
        stdout=stdout,
        stderr=stderr,
    )
    try:
        yield process
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def port_of(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    found = re.search(rb":(\d+) for", process.stdout.readline())
    assert found
    return int(found[1])


def busy(port: int, between: int | None = None) -> None:
    """Send commands that log a line each, with a PING after each; a page is read from the descriptor `between`."""
    first, second = Peer("127.0.0.1", port), Peer("127.0.0.1", port)
    first.hello()
    second.hello()
    late = []
    for number in range(400):
        if between is not None:
            os.read(between, 4096)
        first.command(number, payload=b"a line of the log each" * 4, quiet=True)
        second.expect(Execute)
        began = time.monotonic()
        second.ping(b"here")
        second.ping(b"here")
        late.append(time.monotonic() - began)
    assert sorted(late)[-2] < 0.1, max(late)  # one may coincide with a pause of the machine
    first.close()
    second.close()


@pytest.mark.timeout(60)
def test_a_pipe_that_another_process_keeps_full() -> None:
    reader, writer = os.pipe()
    other = subprocess.Popen([sys.executable, "-c", FILL], stdout=writer)
    try:
        with server(writer) as process:
            busy(port_of(process), between=reader)
    finally:
        other.kill()
        other.wait()
        os.close(reader)
        os.close(writer)


@pytest.mark.timeout(60)
def test_a_terminal_that_was_stopped() -> None:
    ours, theirs = pty.openpty()
    termios.tcflow(theirs, termios.TCOOFF)
    with server(theirs) as process:
        busy(port_of(process))
    os.close(ours)
    os.close(theirs)


@pytest.mark.timeout(60)
def test_a_socket_whose_reader_has_stopped() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with server(theirs.fileno()) as process:
            busy(port_of(process))


@pytest.mark.timeout(60)
def test_standard_output_is_full() -> None:
    reader, writer = os.pipe()
    with suppress(BlockingIOError):
        os.set_blocking(writer, False)
        while True:
            os.write(writer, b"y" * 4096)
    os.set_blocking(writer, True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with server(subprocess.DEVNULL, writer, port) as process:

        def listens() -> bool:
            assert process.poll() is None
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(listens)
        busy(port)
    os.close(reader)
    os.close(writer)


@pytest.mark.timeout(60)
def test_standard_output_and_error_are_closed() -> None:
    """No socket gets their descriptor numbers: a log line would go to a peer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "rankmux", "server", "--port", str(port), "-n", "4"]
    shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command]
    process = subprocess.Popen(shell, cwd=ROOT, env=environment(False))
    try:

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(listens)
        busy(port)
        shown = {number: os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)}
        assert shown == dict.fromkeys(range(3), "/dev/null")
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
