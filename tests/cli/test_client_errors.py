"""The errors of rankmux-client when it cannot connect: the reason and the remedy, with both drivers."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from rankmux import Client
from rankmux.server.server import Server

from ..faults.certificates import Certificates
from ..support.script import run

JARGON = re.compile(r"Traceback|Errno|\[SSL|_ssl\.c|WELCOME|HELLO|AF_UNIX")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Iterator[Path]:
    """A folder with good files and bad ones."""
    folder = tmp_path_factory.mktemp("files")
    made = Certificates(folder)
    for name, path in vars(made).items():
        path.rename(folder / f"{name}.pem")
    pem = (folder / "client.pem").read_text()
    at = pem.index("-----BEGIN CERTIFICATE")
    (folder / "key.pem").write_text(pem[:at])
    (folder / "certificate.pem").write_text(pem[at:])
    (folder / "other-key.pem").write_text(
        (folder / "other_client.pem").read_text().partition("-----BEGIN C")[0]
    )
    key = serialization.load_pem_private_key(pem[:at].encode(), None)
    locked = serialization.BestAvailableEncryption(b"password")
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "encrypted.pem").write_bytes(key.private_bytes(*form, locked))
    (folder / "token").write_text("sesame\n")
    (folder / "wrong").write_text("open\n")
    (folder / "three").write_text("a\nb\nc\n")
    (folder / "text").write_text("hello\n")
    (folder / "empty").write_text("")
    (folder / "directory").mkdir()
    for path in folder.iterdir():
        path.chmod(0o700 if path.is_dir() else 0o600)
    return folder


@pytest.fixture(scope="module")
def ports(files) -> Iterator[dict[str, int]]:
    """Servers of all kinds, by name; `full` has its one member, `closed` no listener."""
    tls = {"tls_cert": str(files / "server.pem")}
    with ExitStack() as stack:

        def port(**settings: object) -> int:
            return stack.enter_context(Server(port=0, **settings)).address[1]

        found = {
            "plain": port(),
            "tls": port(**tls),
            "mutual": port(**tls, tls_client_ca=str(files / "ca.pem"), tls_client_names="boss"),
            "token": port(token_file=str(files / "token")),
            "full": port(seats=1),
            "blind": port(observers_max=0),
            "expired": port(tls_cert=str(files / "expired.pem")),
            "ssh": stack.enter_context(peer(b"SSH-2.0-OpenSSH_9.6\r\n")),
            "alert": stack.enter_context(peer(b"\x15\x03\x01\x00\x02\x02\x46")),
            "curt": stack.enter_context(peer(b"")),
            "mute": stack.enter_context(peer(None)),
            "closed": free_port(),
        }
        member = stack.enter_context(Client("127.0.0.1", found["full"]))
        threading.Thread(target=member.keep_reading, daemon=True).start()
        yield found


@contextmanager
def peer(answer: bytes | None) -> Iterator[int]:
    """A server that gives each connection `answer` and hangs up; with None it does neither. Its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with ExitStack() as kept, suppress(OSError):
                while True:
                    sock = kept.enter_context(listener.accept()[0])
                    if answer is not None:
                        sock.settimeout(5)
                        sock.recv(1)  # the first of what it sends; the rest is read before the end
                        sock.setblocking(False)
                        with suppress(BlockingIOError):
                            sock.recv(4096)
                        sock.sendall(answer)
                        sock.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


LONG = "/tmp/" + "x" * 120

CONNECTING = [
    ("--host no.such.invalid", "cannot connect to no.such.invalid:7117: name not known"),
    ("--port PORT:closed", "nobody listens at 127.0.0.1:PORT: is rankmux-server running there?"),
    ("--port PORT:tls", "the server speaks TLS: use --tls, or --tls-ca with the file of its authority"),
    ("--port PORT:alert", "the server speaks TLS: use --tls, or --tls-ca with the file of its authority"),
    (
        "--port PORT:plain --tls",
        "the server at 127.0.0.1:PORT speaks plain TCP: leave out --tls and --tls-ca (and RANKMUX_TLS_CA)",
    ),
    (
        "--port PORT:ssh --tls",
        "the server at 127.0.0.1:PORT speaks plain TCP: leave out --tls and --tls-ca (and RANKMUX_TLS_CA)",
    ),
    (
        "--port PORT:curt --tls",
        (
            "127.0.0.1:PORT broke off the TLS handshake, perhaps it speaks plain TCP: "
            "leave out --tls and --tls-ca (and RANKMUX_TLS_CA)"
        ),
    ),
    (
        "--port PORT:tls --tls",
        (
            "the certificate of 127.0.0.1:PORT is refused, no authority trusted here has signed it: "
            "name the certificate of its authority with --tls-ca"
        ),
    ),
    (
        "--port PORT:tls --tls-ca FILE:ca.pem",
        (
            "the certificate of 127.0.0.1:PORT is not for 127.0.0.1, it is for localhost: "
            "connect to one of these names, or give it with --tls-name"
        ),
    ),
    (
        "--port PORT:tls --tls-ca FILE:ca.pem --tls-name game.example",
        (
            "the certificate of 127.0.0.1:PORT is not for game.example, it is for localhost: "
            "connect to one of these names, or give it with --tls-name"
        ),
    ),
    (
        "--port PORT:expired --tls-ca FILE:ca.pem --tls-name client-1",
        "the certificate of 127.0.0.1:PORT is refused, it has expired; the server needs a new one",
    ),
    (
        "--port PORT:mutual --tls-ca FILE:ca.pem --tls-name localhost",
        "the server requires a client certificate: give one with --tls-cert and --tls-key",
    ),
    (
        "--port PORT:mutual --tls-ca FILE:ca.pem --tls-name localhost --tls-cert FILE:foreign.pem",
        "the server does not trust the authority of this client's certificate",
    ),
    (
        "--port PORT:mutual --tls-ca FILE:ca.pem --tls-name localhost --tls-cert FILE:client.pem",
        (
            "the server closed the connection: this name in the client certificate may not join: client-1; "
            "show another one with --tls-cert, or allow the name in the server's --tls-client-names"
        ),
    ),
    (
        "--port PORT:token",
        "the server closed the connection: wrong token; set the token with --token-file",
    ),
    (
        "--port PORT:token --token-file FILE:wrong",
        "the server closed the connection: wrong token; set the token with --token-file",
    ),
    (
        "--port PORT:full",
        (
            "the server closed the connection: no seat is free, the room is full (1 of 1); "
            "try again later, or raise the server's --seats"
        ),
    ),
    ("--port PORT:ssh", "this is not a rankmux server, or a broken one: "),
    (
        "--port PORT:curt",
        (
            "the server closed the connection without an answer: "
            "is it a rankmux server? If it speaks TLS, use --tls"
        ),
    ),
    (
        "--port PORT:mute --connect-timeout 0.2",
        "127.0.0.1:PORT did not answer within 0.2 s; is it a rankmux server?",
    ),
    ("--host ::zz", "cannot connect to [::zz]:7117: name not known"),
    (f"--host {'x' * 300}", "7117: not a valid name"),
    (
        "--host fe80::1",
        (
            "cannot connect to [fe80::1]:7117: not a usable address; "
            "a link-local one needs its interface, as in fe80::1%eth0"
        ),
    ),
    ("--unix /nowhere/socket", "cannot connect to /nowhere/socket: there is no directory /nowhere"),
    (
        "--unix FILE:none",
        "cannot connect to FILE: there is no such socket; is rankmux-server running there?",
    ),
    ("--unix FILE:text", "cannot connect to FILE: it is not a socket"),
    (f"--unix {LONG}", "the path is too long (125 bytes, a Unix socket has at most 107)"),
]
FILES = [
    ("--port 70000", "argument --port: '70000': expected a port from 1 to 65535"),
    ("--host x:y", "--host is 'x:y': expected HOST or HOST:PORT, with a port from 1 to 65535"),
    ("--prot 1", 'unknown flag "--prot"; did you mean "--port"?'),
    ("--token-file FILE:none", "--token-file is 'FILE': cannot read the file: there is no such file"),
    ("--token-file FILE:directory", "--token-file is 'FILE': cannot read the file: it is a directory"),
    ("--token-file FILE:empty", "--token-file is 'FILE': it is empty; write the token into it"),
    ("--token-file FILE:three", "--token-file is 'FILE': expected 1 or 2 tokens, one per line, found 3"),
    ("--tls-ca FILE:none", "--tls-ca is 'FILE': cannot read the file: there is no such file"),
    ("--tls-ca FILE:directory", "--tls-ca is 'FILE': cannot read the file: it is a directory"),
    (
        "--tls-ca FILE:text",
        "--tls-ca is 'FILE': expected a PEM file with certificates, found nothing in that format",
    ),
    ("--tls-ca FILE:key.pem", "--tls-ca is 'FILE': expected a PEM file with certificates, found private key"),
    ("--unix= --port 1", "--unix is '': expected the path of the server's socket"),
    (f"--name {'n' * 65}", f"--name is '{'n' * 65}': expected at most 64 bytes of printable text"),
    ("--tls-name x", "--tls-name is 'x': it needs --tls or --tls-ca beside it"),
    ("--tls --tls-cert FILE:none", "--tls-cert is 'FILE': cannot read the file: there is no such file"),
    (
        "--tls --tls-cert FILE:text",
        "--tls-cert is 'FILE': expected a PEM file with a certificate, found nothing",
    ),
    (
        "--tls --tls-cert FILE:key.pem",
        "--tls-cert is 'FILE': expected a PEM file with a certificate, found private key",
    ),
    ("--tls --tls-cert FILE:certificate.pem", "--tls-cert is 'FILE': there is no private key in it"),
    (
        "--tls --tls-cert certificate.pem --tls-key FILE:other-key.pem",
        "--tls-key is 'FILE': the private key in it is not the key of the certificate in certificate.pem",
    ),
    (
        "--tls --tls-cert certificate.pem --tls-key FILE:certificate.pem",
        "--tls-key is 'FILE': expected a PEM file with a private key, found certificate",
    ),
    (
        "--tls --tls-cert certificate.pem --tls-key FILE:encrypted.pem",
        "--tls-key is 'FILE': the key is encrypted with a password; decrypt it with openssl pkey",
    ),
]


def said(
    subcommand: list[str], flags: str, words: str, files: Path, ports: dict[str, int]
) -> tuple[int, str, str]:
    """Exit code, standard error, and the words expected in it."""
    line = []
    for word in flags.split():
        kind, _, name = word.partition(":")
        if kind == "PORT":
            word = str(ports[name])  # noqa: PLW2901
            words = words.replace("PORT", word)
        elif kind == "FILE":
            word = str(files / name)  # noqa: PLW2901
            words = words.replace("FILE", word)
        line.append(word)
    # A certificate named without a folder is beside the others.
    line = [str(files / word) if word == "certificate.pem" else word for word in line]
    words = words.replace(" certificate.pem", f" {files / 'certificate.pem'}")
    code, out, err = run(subcommand[0], *line, *subcommand[1:])
    assert out == ""
    return code, err, words


@pytest.mark.parametrize(("flags", "words"), CONNECTING, ids=lambda text: text[:40])
@pytest.mark.parametrize("subcommand", [["send", "x"], ["hold"]], ids=["blocking", "asyncio"])
def test_no_connection(subcommand, flags, words, files, ports):
    code, err, wanted = said(subcommand, flags, words, files, ports)
    assert code == 5
    assert wanted in err
    assert len(err.splitlines()) == 1
    assert not JARGON.search(err)


@pytest.mark.parametrize(("flags", "words"), FILES, ids=lambda text: text[:40])
def test_wrong_flags_and_files(flags, words, files, ports):
    code, err, wanted = said(["send", "x"], flags, words, files, ports)
    assert code == 2
    assert wanted in err
    assert not JARGON.search(err)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/nowhere/x", "it cannot be used: there is no such directory"),
        ("FILE:directory", "it cannot be used: it is a directory, expected a file"),
        ("FILE:text", "it is no file of a kept seat; remove it for a new one"),
    ],
)
def test_a_keep_file_that_cannot_be_used(path, words, files, ports):
    flags = f"--port PORT:plain --keep 5 --keep-file {path}"
    code, err, _ = said(["hold"], flags, "", files, ports)
    assert code == 2
    assert err.startswith("rankmux-client: --keep-file is '")
    assert words in err


def test_too_many_observers(files, ports):
    code, err, _ = said(["who"], "--port PORT:blind", "", files, ports)
    assert code == 5
    assert "0 observers look on already; try again later, or raise the server's --observers-max" in err
