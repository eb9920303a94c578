"""When a certificate expires, whatever it is good for, and what the server says of it."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

import pytest

from rankmux.config import Config
from rankmux.server.admin.metrics import Exposition
from rankmux.server.intake.auth import Auth
from rankmux.server.server import Server
from rankmux.system.certificate_expiry import expires_at

from ..faults.certificates import Authority

DAY_S = 24 * 3600.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def test_the_moment(authority):
    valid, expired = authority.issue("localhost"), authority.issue("localhost", expired=True)
    assert expires_at(str(valid), "") == pytest.approx(time.time() + DAY_S, abs=60)
    assert expires_at(str(expired), "") == pytest.approx(time.time() - DAY_S, abs=60)


def test_none_for_what_is_no_certificate(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert expires_at(str(tmp_path / "empty"), "") is None
    assert expires_at(str(tmp_path / "absent"), "") is None


@pytest.mark.parametrize(("expired", "said"), [(False, "expires at"), (True, "expired at")])
def test_the_server_says_so_at_the_start_and_at_a_reload(authority, caplog, expired, said):
    path = authority.issue("localhost", expired=expired)
    with caplog.at_level(logging.WARNING, "rankmux.access"):
        auth = Auth(Config(tls_cert=str(path)))
        assert caplog.text.count(said) == 1
        assert str(path) in caplog.text
        assert auth.reload()
    assert caplog.text.count(said) == 2


def test_a_new_certificate_counts_from_the_reload_on(authority, caplog, monkeypatch):
    path = authority.issue("localhost", expired=True)
    auth = Auth(Config(tls_cert=str(path)))
    before = auth.expires_at
    shutil.copy(authority.issue("localhost", again=True), path)
    assert auth.expires_at == before
    assert auth.reload()
    assert auth.expires_at == pytest.approx(time.time() + DAY_S, abs=60)
    monkeypatch.setattr("rankmux.server.intake.auth._SOON_S", DAY_S / 2)
    caplog.clear()
    assert auth.reload()
    assert "expire" not in caplog.text


def test_the_metric(authority):
    path = authority.issue("localhost")
    name = b"rankmux_certificate_expiry_timestamp_seconds"
    for settings, there in (({"tls_cert": str(path)}, True), ({}, False)):
        with Server(port=0, seats=2, **settings) as server:
            assert (name in Exposition(server._status).text()) is there
