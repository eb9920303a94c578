"""Section 9, with client certificates: a seat comes back to the name that joined, and to no other."""

from __future__ import annotations

import signal
import ssl
from functools import partial
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

import pytest

from ..faults.certificates import Authority
from .frames import Code, Hello, How, State, resume
from .line import lose

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Serve
    from .peer import Peer
    from .process import Server

SECRET = b"0123456789abcdef"


class Guarded:
    """A server that takes clients with certificates of one authority, and connections to it."""

    def __init__(self, serve: Serve, folder: Path) -> None:
        self._authority = Authority(folder, "authority")
        self._start = partial(
            serve,
            4,
            *("--tls-cert", str(self._authority.issue("server"))),
            *("--tls-client-ca", str(self._authority.path)),
            *("--state", str(folder / "state")),
        )
        self._server: Server = self._start()

    def restart(self) -> None:
        self._server.signal(signal.SIGTERM)
        assert self._server.wait() == 0
        self._server = self._start()

    def connect(self, name: str, *addresses: IPv6Address, again: bool = False) -> Peer:
        """A connection with a certificate for that name; `again`: another certificate for it."""
        context = ssl.create_default_context(cafile=str(self._authority.path))
        context.load_cert_chain(self._authority.issue(name, *addresses, again=again))
        peer = self._server.connect()
        peer.sock = context.wrap_socket(peer.sock, server_hostname="server")
        return peer


@pytest.fixture
def guarded(serve: Serve, tmp_path: Path) -> Guarded:
    return Guarded(serve, tmp_path)


def test_the_same_name_returns(guarded: Guarded) -> None:
    """Section 9: the name counts, not the certificate."""
    kept = guarded.connect("ada")
    kept.hello(resume=resume(SECRET))
    witness = guarded.connect("bob")
    witness.hello()
    lose(witness, kept)
    back = guarded.connect("ada", again=True)
    welcome = back.hello(resume=resume(SECRET))
    assert (welcome.how, welcome.ticket) == (How.RETURNED, kept.ticket)


@pytest.mark.parametrize("present", [True, False], ids=["takeover", "return"])
def test_another_name_does_not(guarded: Guarded, present: bool) -> None:
    """Section 9: AUTH, although it knows the secret, and nothing changes about the seat."""
    kept = guarded.connect("ada")
    kept.hello(resume=resume(SECRET))
    witness = guarded.connect("bob")
    witness.hello()
    if not present:
        lose(witness, kept)
    seq = witness.who().seq
    thief = guarded.connect("eve")
    thief.send(Hello(resume=resume(SECRET)))
    thief.expect_error(Code.AUTH)
    members = witness.who()
    assert members.seq == seq
    assert members.seats[0].ticket == kept.ticket
    assert members.seats[0].state == (State.PRESENT if present else State.ABSENT)
    if present:
        kept.expect_quiet()
    back = guarded.connect("ada")
    assert back.hello(resume=resume(SECRET)).ticket == kept.ticket


def test_a_certificate_may_have_thousands_of_names(guarded: Guarded) -> None:
    """Section 9: its seat is kept like any other, also over a restart. As text, they take 80 kB."""
    addresses = [IPv6Address((1 << 128) - 1 - number) for number in range(2000)]
    kept = guarded.connect("ada", *addresses)
    kept.hello(resume=resume(SECRET))
    guarded.restart()
    back = guarded.connect("ada", *addresses, again=True)
    welcome = back.hello(resume=resume(SECRET))
    assert (welcome.how, welcome.ticket) == (How.RETURNED, kept.ticket)
