"""Settings from an operator's view: sources of values, --check-config, and refusals to start.

(The range of each setting: tests/test_config.py.)
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rankmux.config import Config
from rankmux.errors import ConfigError
from rankmux.server.intake.auth import Auth, read_tokens

from ..protocol.frames import Code, Hello
from ..protocol.process import ROOT, environment
from .certificates import Certificates
from .conftest import Rigging
from .rig import Rig

OPEN = ("--host", "0.0.0.0", "--port", "0")


def run(*flags: str, **variables: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a server that exits by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "rankmux", "server", *flags],
        cwd=ROOT,
        env={**environment(False), **variables},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def token_file(folder: Path, text: bytes = b"secret\n", mode: int = 0o600) -> str:
    path = folder / "token"
    path.write_bytes(text)
    path.chmod(mode)
    return str(path)


def test_a_flag_counts_before_a_variable_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rankmux.toml"
    path.write_text("seats = 11\nping_ms = 1000\nwaiting_max = 5\n")
    code, out, _ = run(
        *("--check-config", "--config", str(path), "--seats", "13"),
        RANKMUX_SEATS="12",
        RANKMUX_PING_MS="2000",
    )
    assert code == 0
    lines = out.splitlines()
    assert "seats = 13  # flag" in lines
    assert "ping_ms = 2000  # environment" in lines
    assert "waiting_max = 5  # file" in lines
    assert "frame_timeout_s = 10.0  # default" in lines
    code, again, _ = run("--check-config", RANKMUX_CONFIG=str(path))
    assert code == 0
    assert "seats = 11  # file" in again.splitlines()


def test_the_settings_as_they_are_shown_can_be_read_again(tmp_path: Path) -> None:
    _, out, _ = run("--print-config", "-n", "9", "--insecure", "--token-file", r'a "b" \c')
    path = tmp_path / "shown.toml"
    path.write_text(out)
    code, again, _ = run("--print-config", "--config", str(path))
    assert code == 0
    assert [line.partition("  #")[0] for line in again.splitlines()] == [
        line.partition("  #")[0] for line in out.splitlines()
    ]


def test_a_reader_of_the_settings_may_stop_early() -> None:
    """Output to a closed pipe, as with `rankmux-server --print-config | head`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rankmux.cli.server", "--print-config"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()  # type: ignore[union-attr]
    assert (process.communicate(timeout=30)[1], process.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("flags", "variables", "words"),
    [
        (("--seats", "0"), {}, "--seats is 0: expected a whole number from 1 to"),
        ((), {"RANKMUX_SEATS": "many"}, "RANKMUX_SEATS is 'many': expected a whole number"),
        (("--config", "/nowhere.toml"), {}, "--config is '/nowhere.toml'"),
        (("--slow-consumer", "wait"), {}, "expected one of pace, evict"),
        (("--write-timeout-s", "nan"), {}, "--write-timeout-s is"),
        (("--tls-key", "x"), {}, "--tls-key is 'x': requires tls_cert"),
    ],
)
@pytest.mark.parametrize("check", [(), ("--check-config",)], ids=["start", "check"])
def test_an_error_names_the_key_its_value_and_the_allowed_ones(
    flags: tuple[str, ...], variables: dict[str, str], words: str, check: tuple[str, ...]
) -> None:
    """One line, exit code 2, before the server listens; --check-config reports the same."""
    code, out, err = run("--port", "0", *flags, *check, **variables)
    assert (code, out) == (2, "")
    assert words in err.replace("'0'", "0")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--admin", "x"), "admin is 'x': expected HOST:PORT"),
        (("--admin", "192.0.2.1:0"), "192.0.2.1 is not a loopback address"),
        (
            ("--admin", "192.0.2.1:0", "--insecure"),
            "cannot listen on 192.0.2.1:0: this machine does not have",
        ),
        (("--admin", "0.0.0.0:0"), "--admin is '0.0.0.0:0': 0.0.0.0 is not a loopback address"),
        (
            ("--admin-unix", "/nowhere/admin"),
            "--admin-unix is '/nowhere/admin': cannot create a socket there",
        ),
        (("--admin-unix", "FILE"), "cannot create a socket there: something else is there already"),
        (("--unix", "/nowhere/members"), "--unix is '/nowhere/members': cannot create a socket there"),
        (("--unix", "FILE"), "cannot create a socket there: something else is there already"),
        (
            ("--host", "192.0.2.1", "--insecure"),
            "cannot listen on 192.0.2.1:0: this machine does not have",
        ),
        (("--host", "no such host"), "cannot listen on no such host:0: name not known"),
        (OPEN, "--host is '0.0.0.0': not a loopback address; add a token"),
        (("--port", "PORT", "--admin", "PORT"), "expected another port than PORT, which is that of port"),
        (("--metrics", "PORT", "--admin", "PORT"), "expected another port than PORT, which is that of admin"),
    ],
)
@pytest.mark.parametrize("check", [(), ("--check-config",)], ids=["start", "check"])
def test_addresses_that_cannot_be_listened_on(
    tmp_path: Path, flags: tuple[str, ...], words: str, check: tuple[str, ...]
) -> None:
    """The server refuses to start, and so does --check-config, which leaves no socket behind."""
    file = tmp_path / "file"
    file.write_text("precious")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shown = [flag.replace("FILE", str(file)).replace("PORT", port) for flag in flags]
    code, out, err = run("--port", "0", *shown, *check)
    assert (code, out) == (2, "")
    assert words.replace("PORT", port if "PORT" in flags else "PORT") in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "precious"


@pytest.mark.parametrize("module", ["h11", "prometheus_client"])
@pytest.mark.parametrize("check", [(), ("--check-config",)], ids=["start", "check"])
def test_an_extra_that_is_not_installed(tmp_path: Path, module: str, check: tuple[str, ...]) -> None:
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('no {module}', name='{module}')\n")
    code, out, err = run("--port", "0", "--admin", "0", *check, PYTHONPATH=str(tmp_path))
    assert (code, out) == (2, "")
    assert f"requires {module}: pip install '.[admin]' in a clone of rankmux" in err


@pytest.mark.slow
def test_a_server_is_checked_while_it_runs(tmp_path: Path, rig: Rigging) -> None:
    """Addresses in use are reported but are no error; other errors are found, and the running server is not touched."""
    server = rig(4)
    members, admin = tmp_path / "members", tmp_path / "admin"
    rig(4, "--unix", str(members), "--admin-unix", str(admin))
    port = str(server.port)
    code, out, err = run("--check-config", "--port", port)
    assert (code, err) == (0, f"rankmux-server: 127.0.0.1:{port} is in use, perhaps by a running server\n")
    assert f"port = {port}  # flag" in out.splitlines()
    code, _, err = run("--check-config", "--unix", str(members), "--admin-unix", str(admin))
    assert code == 0
    assert [line.split()[1] for line in err.splitlines()] == [str(members), str(admin)]
    assert members.is_socket()
    assert admin.is_socket()
    assert run("--check-config", "--port", port, "--admin", port)[0] == 0  # it cannot know the socket's owner
    code, _, err = run("--check-config", "--port", port, "--admin", "x")
    assert code == 2
    assert "admin is 'x'" in err
    server.join()
    assert "closed" not in server.log()
    stale = tmp_path / "stale"  # as left behind by a killed server
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale))
    assert run("--check-config", "--unix", str(stale))[::2] == (0, "")
    code, _, err = run("--port", port)
    assert code == 2
    assert err.startswith(f"rankmux-server: 127.0.0.1:{port} is already in use, ")


def test_a_token_is_nowhere_on_the_command_line() -> None:
    _, out, _ = run("--help")
    assert "--token-file" in out
    assert "--token " not in out
    code, _, err = run("--token", "secret")
    assert code == 2
    assert 'unknown flag "--token"' in err


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (b"secret\n", 0o660, r"others can read it \(mode 0660\); run chmod 600 /"),
        (b"secret\n", 0o604, r"others can read it \(mode 0604\); run chmod 600 /"),
        (b"", 0o600, "it is empty"),
        (b"\n\n", 0o600, "only white space"),
        (b"a\nb\nc\n", 0o600, "1 or 2 tokens"),
        (b"x" * 1025, 0o600, "at most 1024 bytes"),
    ],
    ids=["group", "world", "empty", "blank", "three", "long"],
)
def test_a_token_file_that_is_not_right(tmp_path: Path, text: bytes, mode: int, words: str) -> None:
    path = token_file(tmp_path, text, mode)
    with pytest.raises(ConfigError, match=words) as caught:
        Auth(Config(token_file=path))
    assert "secret" not in str(caught.value)
    assert "xxx" not in str(caught.value)
    if mode == 0o660:
        assert run("--port", "0", "--token-file", path)[0] == 2
        assert run("--check-config", "--token-file", path)[0] == 2


def test_tokens_of_a_file_and_of_the_environment(tmp_path: Path) -> None:
    path = token_file(tmp_path, b"one\r\ntwo\n")
    access = Auth(Config(token_file=path))
    assert [access.admits(token) for token in (b"one", b"two", b"one\r", b"", b"three")] == [
        True,
        True,
        *[False] * 3,
    ]
    assert read_tokens(Config(), {"RANKMUX_TOKEN": "a\nb"}) == (b"a", b"b")
    with pytest.raises(ConfigError, match="cannot be used together with token_file") as caught:
        read_tokens(Config(token_file=path), {"RANKMUX_TOKEN": "hush"})
    assert "hush" not in str(caught.value)


def test_tokens_are_compared_as_digests_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every known token is compared, regardless of which one matches; all digests have the same length."""
    compared: list[tuple[bytes, bytes]] = []

    def watch(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    access = Auth(Config(), (b"first", b"a much longer second token"))
    monkeypatch.setattr("hmac.compare_digest", watch)
    for token in (b"first", b"a much longer second token", b"", b"x" * 1024):
        access.admits(token)
    assert len(compared) == 8
    assert {len(part) for pair in compared for part in pair} == {32}
    for shown in (repr(access), str(vars(type(access)))):
        assert "first" not in shown


def test_a_token_of_the_environment_lets_in(rig: Rigging) -> None:
    server = rig(4, extra={"RANKMUX_TOKEN": "from the environment"}, token=b"from the environment")
    stranger = server.connect()
    stranger.send(Hello(token=b"guess"))
    stranger.expect_error(Code.AUTH)
    server.join("with the token")
    assert "from the environment" not in server.log()


def test_it_refuses_to_stand_in_the_open(tmp_path: Path, certificates: Certificates) -> None:
    """Except on loopback, the server requires TLS and a token or client certificates, or else --insecure."""
    token = ("--token-file", token_file(tmp_path))
    tls = ("--tls-cert", str(certificates.server))
    mtls = (*tls, "--tls-client-ca", str(certificates.ca))
    for flags, missing in (
        ((), ("a token", "TLS")),
        (token, ("TLS",)),
        (tls, ("a token",)),
    ):
        code, out, err = run(*OPEN, *flags)
        assert (code, out) == (2, "")
        assert all(word in err for word in missing), err
        assert "insecure" in err
    for flags in ((*tls, *token), mtls, ("--insecure",)):
        config_flags = dict(zip([f[2:].replace("-", "_") for f in flags[::2]], flags[1::2], strict=False))
        config = Config(
            insecure="--insecure" in flags, **{k: v for k, v in config_flags.items() if k != "insecure"}
        )
        Auth(config).check_address("0.0.0.0")
    for address in ("127.0.0.1", "127.3.2.1", "::1"):
        Auth(Config()).check_address(address)
    for address in ("0.0.0.0", "::", "192.0.2.1", "fe80::1%lo", "::ffff:192.0.2.1"):
        with pytest.raises(ConfigError, match="loopback"):
            Auth(Config()).check_address(address)


def test_it_listens_unprotected_with_insecure(rig: Rigging) -> None:
    server = rig(4, "--host", "127.0.0.2", "--insecure")
    assert server.host == "127.0.0.2"
    assert isinstance(server, Rig)
    server.join()
