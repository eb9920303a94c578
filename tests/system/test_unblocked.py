from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
import termios
import time
import tty
from contextlib import contextmanager

import pytest

from rankmux.system import unblocked as module
from rankmux.system.unblocked import ATOMIC_BYTES, unblocked

from ..support.interrupts import signal_after
from ..support.patience import until

LINE = b"x" * 99 + b"\n"
FILL = "import os\nwhile True: os.write(1, b'y' * 4096)"


@contextmanager
def competitor(fd):
    """Another process that writes to the same description, blocking, as soon as there is room."""
    process = subprocess.Popen([sys.executable, "-c", FILL], stdout=fd)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def asleep(process):
    with open(f"/proc/{process.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "S"


def within(seconds):
    """Interrupts a call that blocks."""

    def blocked():
        raise AssertionError("a write blocks")

    return signal_after(seconds, blocked)


WAYS = ["unblocked", "_Reopened", "_Spliced"]


def writer_of(way, fd):
    made = getattr(module, way)(fd)
    return made if way == "unblocked" else made.write


@pytest.mark.timeout(60)
@pytest.mark.parametrize("way", WAYS)
def test_a_pipe_that_another_process_fills_between_look_and_write(way):
    """The reader takes a page and stops; the second of the two writers must not wait."""
    reader, writer = os.pipe()
    write = writer_of(way, writer)
    try:
        with competitor(writer) as other:
            until(lambda: asleep(other) and write(LINE) == 0)
            taken = 0
            with within(20):
                for _ in range(5000):
                    os.read(reader, 4096)
                    taken += write(LINE)
            assert taken % len(LINE) == 0
            assert os.get_blocking(writer)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("way", WAYS)
def test_a_full_pipe_and_a_pipe_without_a_reader(way):
    reader, writer = os.pipe()
    write = writer_of(way, writer)
    big = b"a" * ATOMIC_BYTES
    count = 0
    while write(big):
        count += 1
    assert count >= 15
    assert os.read(reader, ATOMIC_BYTES * count) == big * count
    assert write(LINE) == len(LINE)
    assert os.read(reader, 1000) == LINE
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        write(LINE)
    os.close(writer)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket_stays_blocking_for_the_others(kind):
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        write = unblocked(ours.fileno())
        with within(10):
            sizes = []
            while size := write(LINE):
                sizes.append(size)
        assert ours.getblocking()
        assert os.get_blocking(ours.fileno())
        got = theirs.recv(len(LINE))
        assert got == LINE
        theirs.close()
        with pytest.raises(ConnectionError):
            write(LINE)


@pytest.mark.timeout(60)
def test_a_terminal_of_another_user(monkeypatch):
    """It cannot be reopened, so a relay writes; without a reader the relay blocks and we do not."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)

    def denied(*_args):
        raise PermissionError

    monkeypatch.setattr(module, "_Reopened", denied)
    write = unblocked(theirs)
    relay = write.__self__._process
    assert write(b"first\n") == 6
    got = b""
    while len(got) < 6:
        got += os.read(ours, 100)
    assert got == b"first\n"
    assert os.get_blocking(theirs)
    termios.tcflow(theirs, termios.TCOOFF)
    with within(30):
        deadline = time.monotonic() + 20
        idle = 0
        while idle < 50:  # the relay takes a while to fill the terminal
            assert time.monotonic() < deadline
            idle = 0 if write(LINE) else idle + 1
            time.sleep(0.001)
    termios.tcflow(theirs, termios.TCOON)
    os.close(ours)  # the relay ends, as there is no terminal any more
    until(lambda: relay_has_ended(relay.pid))
    with pytest.raises(BrokenPipeError):
        write(LINE)
    os.close(theirs)


def relay_has_ended(pid):
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def test_a_relay_writes_the_rest_after_us_and_ends(tmp_path):
    path = tmp_path / "out"
    with open(path, "wb") as file:
        relayed = module._Relayed(file.fileno())
        assert relayed.write(LINE) == len(LINE)
        pid = relayed._process.pid
        del relayed
        until(lambda: relay_has_ended(pid))
    assert path.read_bytes() == LINE


def test_a_named_pipe_that_has_no_reader_yet(tmp_path):
    path = str(tmp_path / "log")
    os.mkfifo(path)
    keeper = os.open(path, os.O_RDWR)
    writer = os.open(path, os.O_WRONLY)
    os.close(keeper)
    write = unblocked(writer)
    with within(5), pytest.raises(BrokenPipeError):
        write(LINE)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert write(LINE) == len(LINE)
    assert os.read(reader, 1000) == LINE
    os.close(reader)
    os.close(writer)


def test_a_descriptor_that_is_closed():
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with pytest.raises(OSError, match="Bad file descriptor"):
        unblocked(writer)


def test_a_device_and_a_file(tmp_path):
    with open(os.devnull, "wb") as file:
        assert unblocked(file.fileno())(LINE) == len(LINE)
    with open(tmp_path / "file", "wb") as file:
        assert unblocked(file.fileno())(LINE) == len(LINE)
    assert (tmp_path / "file").read_bytes() == LINE
