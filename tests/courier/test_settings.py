"""Settings of the courier: packing and unpacking, names, and secrets that are not shown."""

from __future__ import annotations

import pytest

from rankmux.courier.settings import CourierSettings, shown


def test_packed_and_unpacked():
    settings = CourierSettings(("nats://a:1", "tls://u:p@b:2"), "r", "s1", 1, "c", "ca", "cert", "key", 5)
    assert CourierSettings.unpack(settings.pack()) == settings


def test_names():
    settings = CourierSettings((), "a-b_1")
    assert (settings.stream, settings.subject, settings.bucket) == ("RM_a-b_1", "rmx.a-b_1.log", "rmx_a-b_1")


@pytest.mark.parametrize(
    "url", ["nats://joe:hidden@host:4222", "joe:hidden@host:4222", "tls://hidden@host:4222"]
)
def test_a_password_is_not_shown(url):
    assert shown(url) == "host:4222"
    assert "hidden" not in repr(CourierSettings((url,)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [({}, False), ({"tls_ca": "x"}, True), ({"tls_cert": "x"}, True), ({"urls": ("tls://a",)}, True)],
)
def test_when_tls_is_demanded(values, expected):
    assert CourierSettings(**{"urls": ("nats://a",), **values}).uses_tls is expected
