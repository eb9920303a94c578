"""The errors of rankmux-server when it cannot start: each reason and its remedy, all of them at once."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rankmux.errors import CannotListen
from rankmux.server.server import Server

from ..faults.certificates import Certificates
from ..support.script import PATIENCE_S, environment

JARGON = re.compile(r"Traceback|Errno|\[SSL|_ssl\.c|AF_UNIX|No such file")
LONG = "/tmp/" + "x" * 120


def started(*arguments: object, **variables: object) -> tuple[int, str]:
    """Exit code and standard error of a server that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "rankmux", "server", *map(str, arguments)],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with good files and bad ones."""
    folder = tmp_path_factory.mktemp("files")
    made = Certificates(folder)
    pem = made.server.read_text()
    key, mark, certificate = pem.partition("-----BEGIN CERTIFICATE")
    (folder / "server.pem").write_text(pem)
    (folder / "key.pem").write_text(key)
    (folder / "certificate.pem").write_text(mark + certificate)
    (folder / "other-key.pem").write_text(made.client.read_text().partition("-----BEGIN C")[0])
    (folder / "text").write_text("hello\n")
    (folder / "empty").write_text("")
    (folder / "blank").write_text(" \n")
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "broken.toml").write_text("seats = \n")
    (folder / "section.toml").write_text("[server]\nseats = 3\n")
    (folder / "directory").mkdir()
    (folder / "seed").write_text(f"SU{'A' * 56}\n")
    for path in folder.iterdir():
        path.chmod(0o700 if path.is_dir() else 0o600)
    (folder / "seed").chmod(0o644)
    return folder


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--port 70000", "--port is 70000: expected a whole number from 0 to 65535"),
        ("--config FILE:none", "--config is 'FILE': cannot read the file: there is no such file"),
        ("--config FILE:directory", "--config is 'FILE': cannot read the file: it is a directory"),
        ("--config FILE:broken.toml", "--config is 'FILE': not a valid TOML file: Invalid value (at line 1"),
        ("--config FILE:binary", "--config is 'FILE': not a valid TOML file: expected UTF-8 text"),
        (
            "--config FILE:section.toml",
            'unknown setting "server" in DIR/section.toml; settings stand at the top of the file, not in a section',
        ),
        ("--host ::zz", "cannot listen on [::zz]:0: name not known"),
        ("--host 1.2.3.999", "cannot listen on 1.2.3.999:0: name not known"),
        (
            "--host 192.0.2.1 --insecure",
            "cannot listen on 192.0.2.1:0: this machine does not have that address",
        ),
        (
            "--host 255.255.255.255 --insecure",
            "cannot listen on 255.255.255.255:0: that is the address of many",
        ),
        ("--host 224.0.0.1 --insecure", "cannot listen on 224.0.0.1:0: that is the address of many machines"),
        ("--host ff02::1 --insecure", "cannot listen on [ff02::1]:0: that is the address of many machines"),
        ("--host fe80::1 --insecure", "a link-local one needs its interface, as in fe80::1%eth0"),
        (f"--unix {LONG}", "the path is too long (125 bytes, a Unix socket has at most 107)"),
        (
            "--unix FILE:directory",
            "--unix is 'FILE': cannot create a socket there: something else is there already",
        ),
        (
            "--unix /nowhere/x",
            "--unix is '/nowhere/x': cannot create a socket there: there is no directory /nowhere",
        ),
        (f"--admin-unix {LONG}", "the path is too long (125 bytes, a Unix socket has at most 107)"),
        ("--admin 127.0.0.1:99999", "--admin is '127.0.0.1:99999': expected HOST:PORT, [HOST]:PORT for IPv6"),
        ("--token-file FILE:none", "--token-file is 'FILE': cannot read the file: there is no such file"),
        ("--token-file FILE:directory", "--token-file is 'FILE': cannot read the file: it is a directory"),
        ("--token-file FILE:empty", "--token-file is 'FILE': it is empty; write the token into it"),
        ("--token-file FILE:blank", "--token-file is 'FILE': there is no token in it, only white space"),
        ("--tls-cert FILE:none", "--tls-cert is 'FILE': cannot read the file: there is no such file"),
        ("--tls-cert FILE:directory", "--tls-cert is 'FILE': cannot read the file: it is a directory"),
        (
            "--tls-cert FILE:text",
            "--tls-cert is 'FILE': expected a PEM file with a certificate, found nothing",
        ),
        (
            "--tls-cert FILE:key.pem",
            "--tls-cert is 'FILE': expected a PEM file with a certificate, found private key",
        ),
        ("--tls-cert FILE:certificate.pem", "--tls-cert is 'FILE': there is no private key in it"),
        (
            "--tls-cert DIR/certificate.pem --tls-key FILE:other-key.pem",
            "--tls-key is 'FILE': the private key in it is not the key of the certificate in DIR/certificate.pem",
        ),
        (
            "--tls-cert DIR/certificate.pem --tls-key FILE:text",
            "--tls-key is 'FILE': expected a PEM file with a private key, found nothing in that format",
        ),
        (
            "--tls-cert DIR/server.pem --tls-client-ca FILE:text",
            "--tls-client-ca is 'FILE': expected a PEM file with certificates, found nothing in that format",
        ),
        ("--state FILE:directory", "--state is 'FILE': cannot read the file: it is a directory"),
        (
            "--state /nowhere/x",
            "--state is '/nowhere/x': cannot write into /nowhere: there is no such directory",
        ),
        ("--state /proc/x", "--state is '/proc/x': cannot write into /proc: "),
        ("--seat 3", 'unknown flag "--seat"; did you mean "--seats"?'),
        ("--xyzzy", 'unknown flag "--xyzzy"; rankmux-server --help lists all flags'),
        ("kik 3", 'unknown subcommand "kik"; did you mean "kick"?'),
        ("serve", 'unknown subcommand "serve"; there are status, kick'),
    ],
    ids=lambda text: text[:40],
)
def test_one_thing_is_wrong(flags, words, files):
    line = []
    for word in flags.replace("DIR", str(files)).split():
        kind, _, name = word.partition(":")
        path = str(files / name)
        line.append(path if kind == "FILE" else word)
        words = words.replace("FILE", path if kind == "FILE" else "FILE")
    code, err = started("--port", "0", *line)
    assert code == 2
    assert words.replace("DIR", str(files)) in err
    assert len(err.splitlines()) == 1
    assert not JARGON.search(err)


def test_all_errors_are_reported_at_once(tmp_path):
    """In the flags, in the environment and in the file."""
    path = tmp_path / "rankmux.toml"
    path.write_text('seat = 3\nhost = 5\nroom = "x"\n')
    variables = {"RANKMUX_PING_MS": "often", "RANKMUX_SEATZ": "3"}
    code, err = started("--config", path, "--prot", "1", "--drain-s", "-1", **variables)
    assert code == 2
    assert err.splitlines() == [
        "rankmux-server: unknown variable RANKMUX_SEATZ; did you mean RANKMUX_SEATS?",
        'rankmux-server: unknown flag "--prot"; did you mean "--port"?',
        f'rankmux-server: unknown setting "seat" in {path}; did you mean "seats"?',
        f"rankmux-server: host in {path} is 5: expected a string",
        "rankmux-server: RANKMUX_PING_MS is 'often': expected a whole number from 10 to 3600000",
        "rankmux-server: --drain-s is -1.0: expected a number from 0.01 to 60",
    ]


def test_contradictions_are_reported_at_once_as_they_were_written(tmp_path):
    path = tmp_path / "rankmux.toml"
    path.write_text('tls_client_ca = "ca.pem"\n')
    code, err = started("--config", path, "--tls-key", "k", RANKMUX_OUTBOX_HARD_BYTES=2048)
    assert code == 2
    assert err.splitlines() == [
        "rankmux-server: RANKMUX_OUTBOX_HARD_BYTES is 2048: expected at least outbox_soft_bytes (1048576)",
        "rankmux-server: --tls-key is 'k': requires tls_cert",
        f"rankmux-server: tls_client_ca in {path} is 'ca.pem': requires tls_cert",
    ]


def test_an_address_in_use():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert started("--port", port) == (
            2,
            (
                f"rankmux-server: 127.0.0.1:{port} is already in use, perhaps by another rankmux-server; "
                "stop what listens there, or choose another port\n"
            ),
        )


def test_a_socket_in_use(tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        code, err = started("--unix", path)
    assert code == 2
    assert f"{path} is already in use, perhaps by another rankmux-server" in err
    assert "choose another path" in err


def test_a_port_below_1024(monkeypatch):
    """As for a user other than root."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr("rankmux.server.sockets.listener.ListeningSocket.bind", refuse)
    with pytest.raises(CannotListen) as caught:
        Server(port=80)
    assert str(caught.value) == (
        "cannot listen on 127.0.0.1:80: permission denied; "
        "ports below 1024 need root or CAP_NET_BIND_SERVICE, choose a higher one"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--admin-unix", "/nowhere/x"), "no answer from unix:/nowhere/x: there is no directory /nowhere"),
        (("--admin-unix", LONG), "the path is too long (125 bytes"),
        (
            ("--admin-unix", "/dev/null"),
            "no answer from unix:/dev/null: it is not a socket; is the server running?",
        ),
    ],
)
def test_a_kick_without_a_server(arguments, words):
    code, err = started("kick", "3", *arguments)
    assert code == 5
    assert words in err
    assert not JARGON.search(err)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            "--cluster-tls-ca FILE:none",
            "--cluster-tls-ca is 'FILE': cannot read the file: there is no such file",
        ),
        (
            "--cluster-tls-ca FILE:text",
            "--cluster-tls-ca is 'FILE': expected a PEM file with certificates, found",
        ),
        (
            "--cluster-tls-cert FILE:text",
            "--cluster-tls-cert is 'FILE': expected a PEM file with a certificate",
        ),
        (
            "--cluster-tls-cert DIR/certificate.pem --cluster-tls-key FILE:other-key.pem",
            "--cluster-tls-key is 'FILE': the private key in it is not the key of the certificate in DIR/",
        ),
        (
            "--cluster-creds FILE:none",
            "--cluster-creds is 'FILE': cannot read the file: there is no such file",
        ),
        ("--cluster-creds FILE:binary", "--cluster-creds is 'FILE': expected text: a JWT and an nkey seed"),
        (
            "--cluster-creds FILE:text",
            "--cluster-creds is 'FILE': it is no nkey seed of a user, and has no line with",
        ),
        (
            "--cluster-creds FILE:seed",
            "--cluster-creds is 'FILE': others can read it (mode 0644); run chmod 600 FILE",
        ),
    ],
    ids=lambda text: text[:40],
)
@pytest.mark.parametrize("front", ["--port 0", "--port 0 --check-config", "room reset main --force"])
def test_credentials_for_nats(front, flags, words, files):
    line = []
    for word in flags.replace("DIR", str(files)).split():
        kind, _, name = word.partition(":")
        path = str(files / name)
        line.append(path if kind == "FILE" else word)
        words = words.replace("FILE", path if kind == "FILE" else "FILE")
    code, err = started(*front.split(), "--cluster", "nats://127.0.0.1:1", *line)
    assert code == 2
    assert words.replace("DIR", str(files)) in err
    assert len(err.splitlines()) == 1
    assert not JARGON.search(err)


ENDING = """
import sys
from rankmux.cli.serving import main
from rankmux.server import server
from tests.support.memory_log import MemoryLog, Store


def exhausted():
    log.before_poll = lambda: log.fail("it went on")
    raise MemoryError


log = MemoryLog(Store())
server.CourierLog = lambda *_: log
{befalls}
sys.exit(main(["--port", "0", "--cluster", "nats://memory"]))
"""


@pytest.mark.parametrize(
    ("befalls", "code", "words"),
    [
        ('log.fail("the log was forked")', 3, "the log was forked"),
        ("log.before_poll = exhausted", 70, "memory"),
    ],
    ids=["the log is broken", "memory runs out"],
)
def test_a_server_of_a_cluster_ends_with_the_reason_in_its_last_line(befalls, code, words):
    done = subprocess.run(
        [sys.executable, "-c", ENDING.format(befalls=befalls)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    line = done.stderr.splitlines()[-1]
    assert " CRITICAL " in line
    assert words in line
    assert "Traceback" not in done.stderr
