"""The courier's way to NATS: no server, an old one, TLS, users and what they may do."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ...support.log_driver import LogDriver
from ...support.nats_nodes import free_ports, nats_nodes

USERS = """
accounts {
  A { jetstream: enabled, users: [
    { user: all, password: right },
    { user: deaf, password: right, permissions: { publish: ["$JS.API.>"], subscribe: ["_INBOX.>"] } },
    { user: mute, password: right, permissions: { publish: ["nothing"], subscribe: ["_INBOX.>"] } } ] }
  B { users: [ { user: other, password: right } ] }
}
"""


@contextmanager
def scripted(greeting: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that sends `greeting` to each connection; its URL, and what the first one answered."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield f"nats://joe:hidden@127.0.0.1:{listener.getsockname()[1]}", heard
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(10)
            peer.sendall(greeting)
            while data := peer.recv(4096):
                heard.append(data)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.event == "log_stuck"]


def spin(driver: LogDriver, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        driver.turn()


def test_no_nats_at_the_start_is_told_once_and_waited_for(tmp_path, caplog):
    """Also the ports of servers that are not there yet."""
    caplog.set_level(logging.INFO, "rankmux.server")
    gone = free_ports(1)[0]
    with nats_nodes(tmp_path, sync_always=False) as nodes:
        nodes[0].kill()
        with LogDriver((nodes[0].url, f"nats://joe:hidden@127.0.0.1:{gone}"), "r") as one:
            one.until(lambda: one.log.trouble)
            spin(one, 2.0)
            refused = [f"127.0.0.1:{port}: Connection refused" for port in (nodes[0].port, gone)]
            assert lines(caplog) == [
                "trouble with the log: no NATS server can be used: " + "; ".join(sorted(refused))
            ]
            nodes[0].start()
            one.until_open()
            assert one.log.restarts == 0
            one.until(lambda: one.log.trouble == "")
    assert caplog.records[-1].getMessage() == f"the log can be used, at 127.0.0.1:{nodes[0].port}"


def test_a_nats_that_is_too_old_is_refused_and_gets_no_password():
    greeting = b'INFO {"server_id":"x","version":"2.9.10","max_payload":1048576,"headers":true}\r\n'
    with scripted(greeting) as (url, heard):
        one = LogDriver((url,), "r")
    assert heard == []
    with one:
        assert one.until_failed().endswith("NATS 2.9.10 is too old: 2.14 or newer is needed")


def test_a_nats_without_tls_gets_no_password_where_tls_is_demanded():
    greeting = b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"headers":true}\r\n'
    with scripted(greeting) as (url, heard):
        one = LogDriver((url.replace("nats:", "tls:"),), "r")
    assert heard == []
    with one:
        one.until(lambda: one.log.trouble)
        assert "does not ask for TLS" in one.log.trouble


def test_a_nats_that_says_nothing(caplog):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with LogDriver((f"nats://127.0.0.1:{port}",), "r") as one:
            one.until(lambda: one.log.trouble)
            assert (
                one.log.trouble == f"no NATS server can be used: 127.0.0.1:{port}: it does not answer in time"
            )


def test_tls(tmp_path, certificate):
    cert, key = certificate
    extra = f'tls {{ cert_file: "{cert}", key_file: "{key}", timeout: 5 }}\n'
    with nats_nodes(tmp_path, sync_always=False, extra=extra, ready=False) as nodes:
        url = nodes[0].url.replace("nats:", "tls:")
        with LogDriver((url,), "r", tls_ca=str(cert)) as one:
            one.until_open()
            one.write([b"entry"])
            one.until(lambda: one.idle)
        with LogDriver((url,), "r") as two:  # the system's CAs do not know it
            two.until(lambda: two.log.trouble)
            assert "TLS: self-signed certificate" in two.log.trouble


def test_what_users_may_not_is_told(tmp_path, caplog):
    with nats_nodes(tmp_path, sync_always=False, extra=USERS, login="all:right") as nodes:
        port = nodes[0].port

        def url(user: str, password: str = "right") -> str:
            return f"nats://{user}:{password}@127.0.0.1:{port}"

        with LogDriver((url("all"),), "r") as one:
            one.until_open()
        with LogDriver((url("all", "wrong"),), "r") as one:
            one.until(lambda: one.log.trouble)
            assert one.log.trouble == (
                f"no NATS server can be used: 127.0.0.1:{port}: Authorization Violation (not valid, or expired: look "
                "at cluster_creds, or the user and password in cluster)"
            )
        with LogDriver((url("mute"),), "r") as one:
            one.until(lambda: one.log.trouble)
            assert 'permissions violation for publish to "$js.api.stream.info.rm_r"' in one.log.trouble
            assert one.opened == []
        with LogDriver((url("deaf"),), "r") as one:
            one.until_open()
            one.write([b"entry"])
            one.until(lambda: one.log.trouble)
            assert 'permissions violation for publish to "rmx.r.log"' in one.log.trouble
        with LogDriver((url("other"),), "r") as one:
            one.until(lambda: one.log.trouble)
            assert "not enabled for account: have `jetstream: enabled`" in one.log.trouble
    assert not any("right" in line or "wrong" in line for line in lines(caplog))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"creds": "/nowhere/x.creds"}, "there is no such file"),
        ({"tls_ca": "/nowhere/ca.pem"}, "there is no such file"),
        ({"creds": "/dev/null"}, "it is no nkey seed of a user, and has no line with BEGIN NATS USER JWT"),
    ],
)
def test_files_that_cannot_be_used(settings, expected):
    with LogDriver(("nats://127.0.0.1:1",), "r", **settings) as one:
        assert "the credentials or certificates for NATS cannot be used" in one.until_failed()
        assert expected in one.failed


def test_without_nats_py_it_is_told_what_to_install(tmp_path: Path, monkeypatch):
    (tmp_path / "nats.py").write_text("raise ImportError('not here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with LogDriver(("nats://127.0.0.1:1",), "r") as one:
        assert "pip install '.[cluster]'" in one.until_failed()
        assert one.log.restarts == 0
