"""Rows T: TLS on the server's loop. (T6 is test_s1 over TLS, and the storm of small windows below.)"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time

import pytest

from ..protocol.frames import Code, Command, Execute, Hello, Welcome, decode, encode, encode_all
from ..support.patience import until
from .certificates import Certificates
from .conftest import Rigging
from .rig import Ground, Rig
from .test_slow_peers import flood, numbers
from .tried_peers import TlsPeer
from .witness import Witness

TLS = pytest.mark.parametrize("ground", [Ground("tls")], ids=str)
MTLS = pytest.mark.parametrize("ground", [Ground("mtls")], ids=str)


def client_hello() -> bytes:
    """The first bytes of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def ended_after(sock: socket.socket, seconds: float) -> float:
    """The seconds until the server closes."""
    began = time.monotonic()
    sock.settimeout(seconds)
    try:
        while sock.recv(65_536):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began


@TLS
def test_t1_a_silent_client(rig: Rigging) -> None:
    server = rig(4, "--tls-handshake-timeout-s", "0.5")
    silent = server.plain()
    assert 0.3 < ended_after(silent, 5) < 1.2
    silent.close()


@TLS
def test_t1_a_client_hello_in_single_bytes(rig: Rigging) -> None:
    server = rig(4, "--tls-handshake-timeout-s", "0.5")
    dripping = server.plain()
    began = time.monotonic()
    dripping.settimeout(0.02)
    for octet in client_hello():
        try:
            dripping.sendall(bytes([octet]))
            if not dripping.recv(100):
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
        assert time.monotonic() - began < 2
    assert 0.3 < time.monotonic() - began < 1.2
    dripping.close()


@TLS
def test_t2_plaintext_to_the_tls_port(rig: Rigging) -> None:
    server = rig(4)
    for octets in (encode(Hello()), b"GET / HTTP/1.1\r\n\r\n", bytes(100)):
        plain = server.plain()
        plain.sendall(octets)
        assert ended_after(plain, 5) < 1.0
        plain.close()
    server.join("after all that")


@TLS
def test_t2_an_old_version_of_tls(rig: Rigging, certificates: Certificates) -> None:
    server = rig(4)
    old = certificates.client_context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLS"):  # noqa: PT031
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    sock = server.plain()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        old.wrap_socket(sock, server_hostname="localhost")
    sock.close()


@TLS
def test_t2_tls_1_2_and_1_3_are_taken(rig: Rigging, certificates: Certificates) -> None:
    server = rig(4)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = certificates.client_context()
        context.minimum_version = context.maximum_version = version
        peer = TlsPeer(server.host, server.port, context)
        peer.hello()
        peer.ping(b"over TLS")
        peer.close()


@MTLS
@pytest.mark.parametrize("who", ["nobody", "expired", "foreign"])
def test_t3_no_expired_or_foreign_certificate(rig: Rigging, certificates: Certificates, who: str) -> None:
    server = rig(4)
    member = server.join()
    certificate = {"nobody": None, "expired": certificates.expired, "foreign": certificates.foreign}[who]
    context = certificates.client_context(certificate)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _refused(context, server.plain())
    assert member.who().total == 1


def _refused(context: ssl.SSLContext, sock: socket.socket) -> None:
    """In TLS 1.3 the client gets the alert when it reads."""
    with context.wrap_socket(sock, server_hostname="localhost") as tls:
        tls.sendall(encode(Hello()))
        while tls.recv(1000):
            pass
    raise ConnectionError("an end without an alert")


@MTLS
def test_t3_a_certificate_with_a_name_that_is_not_on_the_list(
    rig: Rigging, certificates: Certificates
) -> None:
    server = rig(4, "--tls-client-names", "client-1, client-9")
    member = server.join()
    other = TlsPeer(server.host, server.port, certificates.client_context(certificates.other_client))
    other.expect_error(Code.AUTH)
    other.close()
    assert member.who().total == 1


@TLS
def test_t4_one_record_with_500_frames_then_silence(rig: Rigging) -> None:
    server = rig(4)
    sender, junior = server.join(), server.join()
    frames = [Command(number, 0, 0, 2, 0, b"x" * 10) for number in range(500)]
    octets = encode_all(*frames)
    assert len(octets) < 16_384
    sender.sock.sendall(octets)
    for _ in frames:
        junior.expect(Execute, payload=b"x" * 10)


@TLS
def test_t4_more_than_a_turn_reads_then_silence(rig: Rigging) -> None:
    """Bytes that OpenSSL has decrypted but the server has not read are invisible to a selector."""
    server = rig(4, "--read-budget-bytes", "1024")
    sender, junior = server.join(), server.join()
    sender.sock.sendall(encode_all(*[Command(n, 0, 0, 2, 0, b"y" * 100) for n in range(2000)]))
    for _ in range(2000):
        junior.expect(Execute)


@TLS
def test_t4_hello_and_commands_in_one_record(rig: Rigging) -> None:
    server = rig(4)
    sender = server.connect()
    sender.send(Hello(), *[Command(n, 0, 0, 0, 0, b"z" * 30) for n in range(300)])
    sender.expect(Welcome)
    for _ in range(300):
        assert sender.recv().kind == 0x85  # it has no junior


@TLS
def test_t5_t6_a_peer_with_a_small_window_that_reads_in_gulps(rig: Rigging) -> None:
    """Repeated WANT_WRITE, with new commands queued in between: every byte arrives once and in order."""
    server = rig(4, "--send-buffer-bytes", "8192")
    sender, junior = server.join(), server.join(receive_buffer=4096)
    total = 150
    seen: list[int] = []
    sending = flood(sender, total, 20_000)
    while len(seen) < total:
        seen += numbers(junior, 1)
        time.sleep(0.002)
    sending.join(10)
    assert seen == list(range(total))


@TLS
def test_t5_both_directions_at_once(rig: Rigging) -> None:
    server = rig(4)
    first, second = server.join(), server.join()
    sendings = [flood(first, 300, 30_000)]
    echo = threading.Thread(target=lambda: [second.ping(bytes(60)) for _ in range(50)] and None)
    assert numbers(second, 300) == list(range(300))
    echo.start()
    echo.join(10)
    sendings[0].join(10)


@TLS
def test_t7_data_and_reset_before_the_wrap(rig: Rigging) -> None:
    server = rig(4)
    member = server.join()
    server.pause()
    for _ in range(5):
        doomed = server.plain()
        doomed.sendall(client_hello())
        doomed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        doomed.close()
    server.resume()
    assert member.who().total == 1


@TLS
def test_t8_handshakes_while_members_work(rig: Rigging) -> None:
    """200 per second for three seconds (fewer if the clients are too slow)."""
    server = rig(80)
    sender = server.join()
    witness = Witness(sender, [server.join(), server.join()])
    context = server.certificates.client_context() if server.certificates else None
    assert context is not None
    began = time.monotonic()
    count = 0
    while time.monotonic() - began < 3.0:
        with context.wrap_socket(server.plain(), server_hostname="localhost") as sock:
            sock.sendall(encode(Hello()))
            assert isinstance(decode(sock.recv(1000)), Welcome)
        count += 1
        time.sleep(max(0.0, began + count / 200 - time.monotonic()))
    witness.finish()
    assert count > 100
    assert witness.keeps(0.1), witness.ms()


@TLS
def test_a_crowd_that_sends_hello_promptly_is_not_limited(rig: Rigging) -> None:
    server = rig(100)
    threads = [threading.Thread(target=server.join) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert server.join().who().total == 61


def test_tls_settings_are_checked(certificates: Certificates) -> None:
    with pytest.raises(AssertionError, match="--tls-cert"):
        Rig(4, "--tls-cert", "/nowhere.pem")
    with pytest.raises(AssertionError, match="--tls-client-ca"):
        Rig(4, "--tls-client-ca", str(certificates.ca))


def test_f10_the_end_of_tls_inside_a_frame(rig: Rigging, certificates: Certificates) -> None:
    server = rig(4, ground=Ground("tls"))
    sender, junior = server.join(), server.join()
    whole = encode(Command(1, 0, 0, 2, 0, b"whole"))
    sender.raw(whole + encode(Command(2, 0, 0, 2, 0, b"cut"))[:-1])
    junior.expect_execute(0, b"whole")
    sender.half_close()
    until(lambda: "cut" in server.log(), 5, "the end was not seen")
