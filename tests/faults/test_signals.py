"""Rows G and K: signals, the clock, and the end of the server."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

import rankmux.server.server

from ..protocol.frames import QUIET, Cause, Code, Command, Error, Execute, Hello, Rank, Welcome, encode
from ..protocol.peer import Peer
from ..support.patience import until
from .certificates import Certificates
from .conftest import Rigging, everywhere
from .rig import STOPPED, Ground, Rig, start_s
from .test_slow_peers import rest_of_stream
from .tried_peers import TlsPeer

BIG = 65_536


def undelivered(server: Rig) -> tuple[int, int]:
    """Connections and bytes, from the last line of its log."""
    found = STOPPED.search(server.log().splitlines()[-1])
    assert found
    return int(found[2] or 0), int(found[1] or 0)


@everywhere
def test_g1_sigterm_under_load(rig: Rigging) -> None:
    """No new connections, ERROR SHUTDOWN to all, no RANK frames, queued output is sent, exit code 0."""
    server = rig(6)
    sender, behind, healthy = server.join(), server.join(receive_buffer=8192), server.join()
    for number in range(15):
        sender.command(number, payload=number.to_bytes(4, "big") + bytes(BIG - 4), quiet=True)
    sender.ping(b"all is in")
    server.signal(signal.SIGTERM)
    frames = healthy.drain()
    assert [type(frame) for frame in frames] == [Execute] * 15 + [Error]
    healthy.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))
    sender.expect_error(Code.SHUTDOWN)
    sender.close()
    seen, error = rest_of_stream(behind)
    assert seen == list(range(15))
    assert error is not None
    assert error.code == Code.SHUTDOWN
    behind.close()
    assert server.wait() == 0
    assert undelivered(server) == (0, 0)


def test_g1_undelivered_output_is_counted(rig: Rigging) -> None:
    server = rig(6, "--shutdown-drain-s", "0.5")
    sender, stalled = server.join(), server.join(receive_buffer=4096)
    for number in range(12):
        sender.command(number, payload=bytes(BIG), quiet=True)
    sender.ping(b"all is in")
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    sender.expect_error(Code.SHUTDOWN)
    assert server.wait() == 0
    assert 0.4 < time.monotonic() - began < 1.5
    connections, octets = undelivered(server)
    assert connections == 1
    assert 0 < octets < 12 * (BIG + 22) + 100
    stalled.close()


def test_g1_it_does_not_wait_for_clients_that_do_not_close(rig: Rigging) -> None:
    """All frames are delivered; a client that never closes its side delays the shutdown only briefly."""
    server = rig(4, "--drain-s", "0.3")
    members = server.line(3)
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert time.monotonic() - began < 1.0
    assert undelivered(server) == (0, 0)
    for member in members:
        member.expect_error(Code.SHUTDOWN)


def test_g1_no_result_comes_after_the_error(rig: Rigging) -> None:
    """A command that expires during the drain causes no further frame."""
    server = rig(4, "--drain-s", "1")
    sender, junior = server.line(2)
    sender.command(1, results=True, ttl_ms=200)
    junior.expect(Execute)
    server.signal(signal.SIGTERM)
    assert [type(frame).__name__ for frame in sender.drain()] == ["Accepted", "Error"]


def test_g1_the_drain_is_waited_for_asleep(rig: Rigging) -> None:
    """The server sleeps even when a command expires meanwhile, which no frame reports."""
    server = rig(4, "--shutdown-drain-s", "2")
    sender, stalled = server.join(), server.join(receive_buffer=4096)
    for ident in range(12):
        sender.command(ident, payload=bytes(BIG), results=True, ttl_ms=500, quiet=True)
    sender.ping(b"all is in")
    server.signal(signal.SIGTERM)
    sender.expect_error(Code.SHUTDOWN)
    time.sleep(0.5)
    before = server.cpu()
    time.sleep(0.5)
    assert server.cpu() - before < 0.1
    assert server.wait() == 0
    stalled.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_g2_a_second_signal(rig: Rigging, number: signal.Signals) -> None:
    server = rig(4, "--shutdown-drain-s", "60")
    sender, stalled = server.join(), server.join(receive_buffer=4096)
    for ident in range(12):
        sender.command(ident, payload=bytes(BIG), quiet=True)
    sender.ping(b"all is in")
    server.signal(number)
    sender.expect_error(Code.SHUTDOWN)
    began = time.monotonic()
    server.signal(number)
    assert server.wait() == 128 + number
    assert time.monotonic() - began < 1.0
    assert undelivered(server)[0] == 1
    server.exit_code = 128 + number
    stalled.close()


def test_g3_sigkill_and_restart_on_the_same_port(rig: Rigging) -> None:
    first = rig(4)
    member = first.join()
    instance = member.joined.instance
    first.exit_code = None
    first.signal(signal.SIGKILL)
    first.wait()
    within_s = 1.0 + start_s()
    began = time.monotonic()
    second = Rig(4, "--port", str(first.port))
    try:
        assert time.monotonic() - began < within_s
        assert second.join().joined.instance != instance
    finally:
        second.finish()


def test_g3_sigkill_and_restart_on_a_unix_socket(tmp_path: Path, rig: Rigging) -> None:
    path = tmp_path / "socket"
    first = rig(4, "--unix", str(path))
    first.exit_code = None
    first.signal(signal.SIGKILL)
    first.wait()
    assert path.exists()
    second = Rig(4, "--unix", str(path))
    second.finish()
    assert not path.exists()


@pytest.mark.slow
def test_g4_the_server_was_stopped(rig: Rigging) -> None:
    """The row says 30 s; here it is the time of 16 pings, over 4 handshake timeouts and 8 write timeouts."""
    server = rig(
        8,
        "--ping-ms",
        "250",
        "--write-timeout-s",
        "0.5",
        "--handshake-timeout-s",
        "1",
        "--frame-timeout-s",
        "1",
    )
    line = server.line(4)
    greeting = server.connect()
    half = server.join()
    half.raw(encode(Command(1, 0, 0, 0, 0, b"half"))[:10])
    server.pause()
    time.sleep(4.0)
    for peer in line:
        peer.send(Command(7, 0, 0, QUIET, 0, b"sent while it was stopped"))
    server.resume()
    greeting.hello()
    half.raw(encode(Command(1, 0, 0, 0, 0, b"half"))[10:])
    for rank, peer in enumerate(line):
        for sender in range(rank):
            assert peer.expect(Execute).sender_rank == sender
        peer.settle()
    assert line[0].who().total == 6


@pytest.mark.slow
def test_g4_idle_members_outlive_it(rig: Rigging) -> None:
    server = rig(6, "--ping-ms", "200")
    line = server.line(3)
    server.pause()
    time.sleep(2.0)
    server.resume()
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        for peer in line:
            peer.expect_quiet()


def reloads(server: Rig, *, well: bool) -> None:
    wanted = "reloaded:" if well else "reload failed"
    before = server.log().count(wanted)
    server.signal(signal.SIGHUP)
    until(lambda: server.log().count(wanted) > before, 5, f"no line '{wanted}'")


def test_g5_sighup_with_a_broken_token_file(rig: Rigging, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"first\n")
    path.chmod(0o600)
    server = rig(4, "--token-file", str(path), token=b"first")
    member = server.connect()
    member.hello("a", b"first")
    for text, mode in ((b"", 0o600), (b"second\n", 0o644), (b"1\n2\n3\n", 0o600)):
        path.write_bytes(text)
        path.chmod(mode)
        reloads(server, well=False)
    path.unlink()
    reloads(server, well=False)
    again = server.connect()
    again.hello("b", b"first")
    assert "second" not in server.log()


def test_g5_sighup_with_a_new_token(rig: Rigging, tmp_path: Path) -> None:
    """Rotation: the old and the new token, then the new one alone. Members stay, whichever token they used."""
    path = tmp_path / "token"
    path.write_bytes(b"first\n")
    path.chmod(0o600)
    server = rig(6, "--token-file", str(path), token=b"first")
    member = server.connect()
    member.hello("a", b"first")
    path.write_bytes(b"first\nsecond\n")
    reloads(server, well=True)
    for token in (b"first", b"second"):
        server.connect().hello("b", token)
    path.write_bytes(b"second\n")
    reloads(server, well=True)
    late = server.connect()
    late.send(Hello(token=b"first"))
    late.expect_error(Code.AUTH)
    server.connect().hello("c", b"second")
    assert member.who().total == 4
    server.token = b"second"


def test_g5_sighup_with_new_and_with_broken_certificates(
    rig: Rigging, certificates: Certificates, tmp_path: Path
) -> None:
    path = tmp_path / "cert.pem"
    path.write_bytes(certificates.server.read_bytes())
    server = rig(4, "--tls-cert", str(path), ground=Ground("tls"))
    member = server.join()
    serial = member.sock.getpeercert()["serialNumber"]  # type: ignore[attr-defined]
    path.write_bytes(b"this is no certificate")
    reloads(server, well=False)
    assert server.join().sock.getpeercert()["serialNumber"] == serial  # type: ignore[attr-defined]
    path.write_bytes(certificates.server_again.read_bytes())
    reloads(server, well=True)
    late = server.join()
    assert isinstance(late, TlsPeer)
    assert late.sock.getpeercert()["serialNumber"] != serial  # type: ignore[attr-defined]
    assert member.who().total == 3


def test_k1_the_wall_clock_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    """All timeouts use a monotonic clock: an hour forward or back has no effect."""
    real = time.time
    jump = [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + jump[0])
    with rankmux.server.server.Server(port=0, ping_ms=200, handshake_timeout_s=1.0) as server:
        members = [Peer(*server.address) for _ in range(3)]
        for member in members:
            member.hello()
        greeting = Peer(*server.address)
        for jump[0] in (3600.0, -3600.0, 0.0):
            members[0].command(1, payload=b"still here", quiet=True, results=True, ttl_ms=60_000)
            for junior in members[1:]:
                junior.result(junior.expect(Execute).seq)
            assert [type(frame).__name__ for frame in members[0].settle()][-1] in ("Done", "Routed")
        greeting.hello()
        assert members[0].who().total == 4
        for each in (*members, greeting):
            each.close()


def test_k1_nothing_reads_the_wall_clock() -> None:
    package = Path(rankmux.server.__file__).parent
    for path in package.glob("*.py"):
        assert not re.search(r"\btime\.time\(|datetime", path.read_text()), path


@pytest.mark.slow
def test_k2_idle_with_members(rig: Rigging) -> None:
    """At most two wake-ups per second; no ping is due soon."""
    server = rig(10)
    server.line(5)
    time.sleep(0.3)
    before = _switches(server)
    time.sleep(3.0)
    assert _switches(server) - before <= 6


def _switches(server: Rig) -> int:
    found = re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", Path(f"/proc/{server.pid}/status").read_text())
    assert found
    return int(found[1])


def test_a_unix_socket(rig: Rigging, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = rig(4, "--unix", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    first, second = server.line(2)
    first.command(1, payload=b"over a path")
    second.expect_execute(0, b"over a path")
    first.settle()
    assert first.who().seats[0].address.startswith(f"unix:user={os.getuid()}:")
    with pytest.raises(AssertionError, match="is already in use"):
        Rig(4, "--unix", str(path))
    first.leave()
    second.expect(Rank, cause=Cause.LEFT)
    other = tmp_path / "file"
    other.write_text("not a socket")
    with pytest.raises(AssertionError, match="cannot create a socket there"):
        Rig(4, "--unix", str(other))
    assert other.read_text() == "not a socket"
    assert isinstance(server.join().joined, Welcome)
