from __future__ import annotations

import errno
import logging
import socket

import pytest

from rankmux import Client
from rankmux.cli.shared.connection_flags import add_connection_flags, client_options
from rankmux.config import Config
from rankmux.errors import AddressInUse, CannotListen, ConfigError
from rankmux.hosts import bare_host
from rankmux.server.server import Server
from rankmux.server.sockets import addresses
from rankmux.server.sockets.addresses import listen_on, text_address

V4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
V6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "")


@pytest.fixture
def names(monkeypatch):
    """Names and what they resolve to; localhost has two addresses, one of them twice."""

    def resolve(host, port, *rest, **flags):
        found = {
            "localhost": ["::1", "127.0.0.1", "127.0.0.1"],
            "here-and-elsewhere": ["192.0.2.1", "127.0.0.1"],
            "elsewhere": ["192.0.2.1", "198.51.100.1"],
        }.get(host)
        if found is None:
            return known(host, port, *rest, **flags)
        return [(*V6, (each, port, 0, 0)) if ":" in each else (*V4, (each, port)) for each in found]

    known = socket.getaddrinfo
    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)


def opened(host, port=0):
    return listen_on("host", host, port, lambda _address: None, socket.socket, 16)


def close(socks):
    for sock in socks:
        sock.close()


@pytest.mark.usefixtures("names")
def test_a_name_means_all_its_addresses():
    with Server(host="localhost", port=0, seats=4) as server:
        host, port = server.address
        assert (host, server.where) == ("::1", f"[::1]:{port}, 127.0.0.1:{port}")
        for each in ("::1", "127.0.0.1", "127.0.0.1", "::1"):
            with Client(each, port) as client:
                assert client.member_count == 1
    for each in ("::1", "127.0.0.1"):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((each, port)).close()


@pytest.mark.usefixtures("names")
def test_the_same_free_port_on_all(monkeypatch):
    """A port that is free on the first address but not on the second is not chosen."""
    taken = []
    bind = socket.socket.bind

    class Watched(socket.socket):
        def bind(self, address):
            if self.family == socket.AF_INET and len(taken) < 3:
                taken.append(address[1])
                raise OSError(errno.EADDRINUSE, "taken")
            bind(self, address)

    socks = listen_on("host", "localhost", 0, lambda _address: None, Watched, 16)
    ports = {sock.getsockname()[1] for sock in socks}
    close(socks)
    assert len(socks) == 2
    assert len(taken) == 3
    assert len(ports) == 1


@pytest.mark.usefixtures("names")
def test_one_of_them_in_use():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(AddressInUse, match=rf"^localhost:{port} is already in use,"):
            opened("localhost", port)
        with socket.socket(socket.AF_INET6) as free:  # the attempt leaves no socket open
            free.bind(("::1", port))


@pytest.mark.usefixtures("names")
def test_an_address_of_another_machine(caplog):
    caplog.set_level(logging.WARNING, logger="rankmux")
    socks = opened("here-and-elsewhere")
    assert [sock.getsockname()[0] for sock in socks] == ["127.0.0.1"]
    close(socks)
    assert [record.event for record in caplog.records] == ["address_skipped"]
    with pytest.raises(CannotListen, match=r"^cannot listen on elsewhere:0: this machine does not have that"):
        opened("elsewhere")


@pytest.mark.usefixtures("names")
def test_all_addresses_are_checked_before_one_is_opened():
    seen = []

    def check(address):
        seen.append(address)
        if address == "127.0.0.1":
            raise ConfigError("host", address, "no")

    with pytest.raises(ConfigError):
        listen_on("host", "localhost", 0, check, lambda *_: pytest.fail("opened"), 16)
    assert seen == ["::1", "127.0.0.1"]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("no such host", "^cannot listen on no such host:7117: name not known$"),
        ("", "^cannot listen on :7117: the host is empty; 0.0.0.0 or :: are all addresses$"),
        ("x" * 70 + ".example", "not a valid name$"),
        ("a\0b", "not a valid name$|name not known$"),
    ],
)
def test_addresses_that_cannot_be_listened_on(host, words):
    with pytest.raises(CannotListen, match=words):
        opened(host, 7117)


@pytest.mark.usefixtures("names")
def test_the_admin_endpoint_too():
    pytest.importorskip("h11")
    with Server(port=0, admin="localhost:0") as server:
        v6, v4 = server.admin_where
        port = int(v4.rpartition(":")[2].strip("/"))
        assert (v6, v4) == (f"http://[::1]:{port}/", f"http://127.0.0.1:{port}/")
        for host in ("::1", "127.0.0.1"):
            with socket.create_connection((host, port), 5) as sock:
                sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert sock.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("[::1]", "::1"), ("::1", "::1"), ("localhost", "localhost"), ("fe80::1%lo", "fe80::1%lo"), ("[", "[")],
)
def test_a_host_in_brackets(written, meant):
    assert bare_host("host", written) == meant
    assert Config(host=written).host == meant


@pytest.mark.parametrize("written", ["[::1]:7117", "127.0.0.1:7117", "localhost:7117", "localhost:"])
def test_a_host_with_a_port(written):
    with pytest.raises(ConfigError, match="expected a host without a port"):
        Config(host=written)


def test_the_host_of_a_client():
    import argparse

    parser = argparse.ArgumentParser()
    add_connection_flags(parser)
    for written in ("[::1]", "[::1]:7117", "::1", "a,b:7118"):
        assert client_options(parser.parse_args(["--host", written]))["host"] == written
    with pytest.raises(ConfigError, match=r"^--host is .* expected HOST or HOST:PORT"):
        client_options(parser.parse_args(["--host", "[::1]:x"]))


def test_the_address_of_the_log_line_is_understood():
    with Server(host="[::1]", port=0) as server:
        host, _, port = server.where.rpartition(":")
        assert host == "[::1]"
        with Client(bare_host("host", host), int(port)) as client:
            assert client.rank == 0


def test_addresses_as_text():
    assert text_address(("127.0.0.1", 7117)) == "127.0.0.1:7117"
    assert text_address(("::1", 7117, 0, 0)) == "[::1]:7117"
