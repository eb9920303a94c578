from __future__ import annotations

import errno
import os
import pty
import select
import tty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.system.line_pipe import LinePipe


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    os.close(writer)


@given(st.lists(st.binary(max_size=5000), max_size=12))
def test_accepted_lines_arrive_whole_and_in_order(lines):
    """No write blocks without a reader; a long line keeps both ends."""
    reader, writer = os.pipe()
    try:
        pipe = LinePipe(writer)
        taken = [line for line in lines if pipe.write(line)]
        del pipe  # it has a descriptor too
        os.close(writer)
        writer = -1
        with open(reader, "rb", closefd=False) as stream:
            got = stream.read()
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    assert len(taken) == len(lines)  # they are fewer than the pages of a pipe
    for line in taken:
        size = min(len(line), 4095)
        came, got = got[:size], got[size + 1 :]
        assert came == line or (came[:1024], came[-1024:], len(came)) == (line[:1024], line[-1024:], 4095)
    assert got == b""


@pytest.mark.parametrize("blocking", [True, False])
def test_a_full_pipe_takes_nothing_and_does_not_block(pipe, blocking):
    reader, writer = pipe
    os.set_blocking(writer, blocking)
    lines = LinePipe(writer)
    count = 0
    while lines.write(b"x" * 100):
        count += 1
    assert not lines.write(b"x" * 100)
    got = os.read(reader, 1_000_000)
    assert got == (b"x" * 100 + b"\n") * count
    assert lines.write(b"again")
    assert os.read(reader, 100) == b"again\n"
    os.close(reader)


@pytest.mark.parametrize("full", [True, False])
def test_a_pipe_whose_reader_was_closed(pipe, full):
    """This holds even for a full pipe, because a closed reader never makes room."""
    reader, writer = pipe
    lines = LinePipe(writer)
    while full and lines.write(b"x" * 100):
        pass
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        lines.write(b"x")


def test_a_terminal_that_was_closed():
    ours, theirs = pty.openpty()
    lines = LinePipe(theirs)
    assert lines.write(b"here")
    assert os.read(ours, 100) == b"here\r\n"
    os.close(ours)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        lines.write(b"gone")
    os.close(theirs)


def read_out(terminal):
    """The output, until it pauses for a while."""
    got = b""
    while select.select([terminal], [], [], 0.2)[0]:
        got += os.read(terminal, 65536)
    return got


@pytest.mark.timeout(30)
@pytest.mark.parametrize("size", [9, 80, 3000])
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "cooked"])
def test_a_terminal_that_is_not_read(raw, size):
    """It takes the part that fits, no write blocks, and the rest of a partial line precedes the next line."""
    ours, theirs = pty.openpty()
    if raw:
        tty.setraw(theirs)
    lines = LinePipe(theirs)
    taken = 0
    while lines.write(b"%0*d" % (size, taken)):
        taken += 1
    assert os.get_blocking(theirs)
    assert taken > 1
    got = read_out(ours)
    while not lines.write(b"the last"):
        got += read_out(ours)
    got += read_out(ours)
    os.close(ours)
    os.close(theirs)
    expected = [*(b"%0*d" % (size, number) for number in range(taken)), b"the last"]
    assert got.replace(b"\r\n", b"\n").splitlines() == expected


def test_a_file(tmp_path):
    with open(tmp_path / "log", "wb") as file:
        assert LinePipe(file.fileno()).write(b"line")
    assert (tmp_path / "log").read_bytes() == b"line\n"
