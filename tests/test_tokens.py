from __future__ import annotations

import os
import stat
import struct

import pytest

from rankmux.cli.shared.connection_flags import token_reader
from rankmux.config import Config
from rankmux.errors import ConfigError
from rankmux.server.intake.auth import Auth
from rankmux.tokens import TOKENS_MAX, parse_tokens, read_token_file

SAME = [
    b"secret",
    b"secret\n",
    b"secret \n",
    b" secret\n",
    b"secret\t\n",
    b"\tsecret",
    b"secret\r\n",
    b"secret\r",
    b"\n\nsecret\n\n",
    b"\xef\xbb\xbfsecret\n",
    b"\xef\xbb\xbf secret \r\n",
    b"secret\nolder\n",
    b"secret\r\nolder",
]


@pytest.mark.parametrize("data", SAME)
def test_a_client_and_a_server_read_the_same_token_from_a_file(data, tmp_path):
    path = tmp_path / "token"
    path.write_bytes(data)
    path.chmod(0o600)
    token = token_reader(str(path))()
    assert token == b"secret"
    auth = Auth(Config(token_file=str(path)))
    assert auth.admits(token)
    assert auth.admits(b"older") == (b"older" in data)


@pytest.mark.parametrize("data", [b"pass word", "pässwort".encode(), b'"quoted"', b"#1", b"x" * 1024])
def test_characters_that_a_token_may_contain(data):
    assert parse_tokens("key", "value", data + b"\n") == (data,)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b" \t\r\n \n", "only white space"),
        (b"\xef\xbb\xbf\n", "only white space"),
        ("secret\n".encode("utf-16"), "expected UTF-8 text"),
        ("secret\n".encode("utf-16-le"), "without NUL bytes"),
        (bytes(range(128, 160)), "encode a binary token, for example with base64"),
        (b"secret\0", "without NUL bytes"),
        (b"secret\n" * 3, f"expected 1 or {TOKENS_MAX} tokens, one per line, found 3"),
        (b"secret" * 200, "at most 1024 bytes"),
        (b"secret\n" * 100_000, "larger than"),
    ],
)
@pytest.mark.parametrize(
    "read",
    [lambda path: token_reader(path)(), lambda path: Auth(Config(token_file=path))],
    ids=["client", "server"],
)
def test_invalid_token_files(data, words, read, tmp_path):
    path = tmp_path / "token"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=words) as caught:
        read(str(path))
    assert "secret" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_client_reads_a_pipe_once_and_a_file_again(tmp_path):
    reader, writer = os.pipe()
    os.write(writer, b"first\n")
    os.close(writer)
    read = token_reader(f"/dev/fd/{reader}")
    assert [read(), read()] == [b"first", b"first"]
    os.close(reader)
    path = tmp_path / "token"
    read = token_reader(str(path))
    for token in (b"one", b"two"):
        path.write_bytes(token)
        assert read() == token


ROOT, US, THEM = 0, 1000, 1001


@pytest.mark.parametrize(
    ("owner", "group", "mode", "cure"),
    [
        (US, US, 0o600, None),
        (US, US, 0o400, None),
        (US, US, 0o640, "chmod 600 '/a token'"),
        (US, US, 0o604, "chmod 600 '/a token'"),
        (ROOT, US, 0o440, None),  # a secret of Kubernetes with fsGroup
        (ROOT, US, 0o640, None),
        (ROOT, US, 0o660, "chmod 440 '/a token'"),
        (ROOT, US, 0o444, "chmod 440 '/a token'"),
        (ROOT, THEM, 0o440, "chown 1000 '/a token' and chmod 600 '/a token'"),
        (THEM, US, 0o440, "chown 1000 '/a token' and chmod 600 '/a token'"),
    ],
)
def test_who_may_read_a_file_beside_us(owner, group, mode, cure, monkeypatch):
    status = os.stat_result((stat.S_IFREG | mode, 1, 1, 1, owner, group, 7, 0, 0, 0))
    monkeypatch.setattr("rankmux.tokens.read_small", lambda *_args, **_flags: (b"secret\n", status))
    monkeypatch.setattr(os, "geteuid", lambda: US)
    monkeypatch.setattr(os, "getegid", lambda: US)
    monkeypatch.setattr(os, "getgroups", lambda: [US])
    if cure is None:
        assert read_token_file("key", "/a token", private=True, pipes=False) == (b"secret",)
        return
    with pytest.raises(ConfigError) as caught:
        read_token_file("key", "/a token", private=True, pipes=False)
    assert caught.value.expected == f"others can read it (mode {mode:04o}); run {cure}"
    assert read_token_file("key", "/a token", private=False, pipes=False) == (b"secret",)


def test_an_access_control_list_of_root_may_name_others(tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_bytes(b"secret\n")
    path.chmod(0o440)
    monkeypatch.setattr(os, "getgroups", lambda: [path.stat().st_gid])
    monkeypatch.setattr("rankmux.system.private_files._granted_by_root", lambda _status: True)
    assert read_token_file("key", str(path), private=True, pipes=False) == (b"secret",)
    unnamed = 0xFFFF_FFFF
    entries = [(1, 4, unnamed), (2, 4, 4321), (4, 4, unnamed), (16, 4, unnamed), (32, 0, unnamed)]
    data = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(path, "system.posix_acl_access", data)
    assert path.stat().st_mode & 0o777 == 0o440
    with pytest.raises(ConfigError, match="others can read it"):
        read_token_file("key", str(path), private=True, pipes=False)


def test_a_credential_of_systemd(tmp_path, monkeypatch):
    """Its access control list shows as a group's permission."""
    path = tmp_path / "credentials" / "token"
    path.parent.mkdir()
    path.write_bytes(b"secret\n")
    path.chmod(0o444)
    with pytest.raises(ConfigError, match="others can read it"):
        read_token_file("key", str(path), private=True, pipes=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(path.parent))
    assert read_token_file("key", str(path), private=True, pipes=False) == (b"secret",)
    (path.parent / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_bytes(b"secret\n")
    (tmp_path / "outside").chmod(0o444)
    with pytest.raises(ConfigError, match="others can read it"):
        read_token_file("key", str(path.parent / "link"), private=True, pipes=False)
