"""The file of a kept seat: private, whole from its first moment, and one program's at a time."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from rankmux.client.keep_file import KeepFile
from rankmux.errors import ArgumentError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "seat"


def test_it_is_made_once_and_private(path):
    old = os.umask(0)
    try:
        file = KeepFile(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(file.secret) == 32
    file.close()
    file.close()
    again = KeepFile(path)
    assert again.secret == file.secret
    again.close()
    assert os.listdir(path.parent) == ["seat"]


def test_one_at_a_time(path):
    file = KeepFile(path)
    with pytest.raises(ArgumentError, match="another program uses it"):
        KeepFile(path)
    file.close()
    KeepFile(path).close()


def test_many_at_once_make_one(path):
    files, errors, start = [], [], threading.Barrier(8)

    def make() -> None:
        start.wait()
        try:
            files.append(KeepFile(path))
        except ArgumentError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(files), len(errors)) == (1, 7)
    assert all("another program uses it" in error for error in errors)
    assert os.listdir(path.parent) == ["seat"]
    files[0].close()


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (b"rankmux-keep 1 " + b"00" * 32 + b"\n", 0o640, "chmod 600"),
        (b"rankmux-keep 1 " + b"00" * 32 + b"\n", 0o602, "chmod 600"),
        (b"", 0o600, "no file of a kept seat"),
        (b"rankmux-keep 1 00\n", 0o600, "no file of a kept seat"),
        (b"00" * 32, 0o600, "no file of a kept seat"),
        (b"rankmux-keep 1 " + b"00" * 33 + b"\n", 0o600, "no file of a kept seat"),
        (b"\xff" * 100_000, 0o600, "no file of a kept seat"),
    ],
)
def test_files_that_are_refused(path, text, mode, reason):
    path.write_bytes(text)
    path.chmod(mode)
    for _ in range(2):
        with pytest.raises(ArgumentError, match=reason) as caught:
            KeepFile(path)
        assert "00" * 16 not in str(caught.value)
    assert path.read_bytes() == text


def test_paths_that_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path, tmp_path / "none" / "seat", tmp_path / "pipe", tmp_path / "link", "a\0b"):
        with pytest.raises(ArgumentError, match="keep_file"):
            KeepFile(path)
    assert not (tmp_path / "elsewhere").exists()
