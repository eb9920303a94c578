from __future__ import annotations

import os
import re
import socket
import threading

import pytest

from rankmux.system import small_files
from rankmux.system.small_files import check_small, read_small

pytestmark = pytest.mark.timeout(20)
LOOKS = [lambda path: read_small(path, 1000), lambda path: check_small(path, 1000)]


def pipe(path):
    os.mkfifo(path)


def file_without_end(path):
    path.touch()
    os.truncate(path, 1 << 40)


def link_to_a_pipe(path):
    os.mkfifo(f"{path}.pipe")
    path.symlink_to(f"{path}.pipe")


def device(path):
    path.symlink_to("/dev/zero")


def folder(path):
    path.mkdir()


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest.mark.parametrize("look", LOOKS, ids=["read", "check"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (pipe, "it is a pipe"),
        (link_to_a_pipe, "it is a pipe"),
        (file_without_end, "larger than 1000 bytes"),
        (device, "not a regular file"),
        (folder, "it is a directory"),
        (unix_socket, "No such device or address"),
        (lambda _path: None, "No such file"),
    ],
)
def test_paths_that_are_not_regular_files(look, make, words, tmp_path):
    """None of these files makes the reader wait."""
    path = tmp_path / "file"
    make(path)
    with pytest.raises(OSError, match=words):
        look(str(path))


def test_a_file_up_to_the_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    assert read_small(str(path), 1000)[0] == b"x" * 1000
    check_small(str(path), 1000)
    with pytest.raises(OSError, match="larger than 999 bytes"):
        read_small(str(path), 999)
    assert read_small(os.devnull, 10)[0] == b""


def test_a_pipe_handed_over_by_number():
    """As of `<(...)`: read to its end, though its writer takes a while."""
    reader, writer = os.pipe()
    later = threading.Timer(0.2, lambda: (os.write(writer, b"secret"), os.close(writer)))
    os.write(writer, b"the ")
    later.start()
    path = f"/dev/fd/{reader}"
    with pytest.raises(OSError, match="it is a pipe"):
        read_small(path, 100)
    check_small(path, 100, pipes=True)
    assert read_small(path, 100, pipes=True)[0] == b"the secret"
    later.join()
    os.close(reader)


def test_a_pipe_without_a_writer(monkeypatch):
    monkeypatch.setattr(small_files, "_PIPE_S", 0.05)
    reader, writer = os.pipe()
    with pytest.raises(OSError, match=re.escape("nothing was written to the pipe")):
        read_small(f"/dev/fd/{reader}", 100, pipes=True)
    os.write(writer, b"x" * 200)
    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_small(f"/dev/fd/{reader}", 100, pipes=True)
    os.close(reader)
    os.close(writer)
