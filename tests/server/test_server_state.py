"""A server's file of kept seats: the effect of a start, a check, a failure and a stop on it.

(Such a restart as members see it: tests/protocol/test_restart_state.py.)
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from zlib import crc32

import pytest

from rankmux.errors import ConfigError
from rankmux.server.server import Server as InProcess
from rankmux.wire import Hello, Keep

from ..protocol.frames import Baton, Code, Error, How, Leave, Welcome, Write
from ..protocol.peer import Peer
from ..protocol.process import ROOT, START_S, Server, environment
from ..support.admin_client import turns_until
from ..support.operated import refused

SECRETS = [b"secret number %02d" % number for number in range(12)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def start(path: Path) -> Iterator[object]:
    """Starts server processes that use the file."""
    with ExitStack() as stack:

        def begin(seats: int = 12, *flags: str) -> Server:
            server = Server(seats, "--state", str(path), *flags)
            stack.callback(server.stop)
            return server

        yield begin


def run(*flags: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a server that ends by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "rankmux", "server", *flags],
        cwd=ROOT,
        env=environment(False),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def stop(server: Server, *peers: Peer) -> int:
    """Stop it; these peers close their ends after SHUTDOWN."""
    server.signal(signal.SIGTERM)
    for peer in peers:
        assert isinstance(peer.drain()[-1], Error)
        peer.close()
    return server.wait()


def store(start, *names: bytes) -> list[int]:
    """Leave a file with seats for these secrets; their tickets."""
    server = start()
    peers = [server.keep(name) for name in names]
    assert stop(server, *peers) == 0
    return [peer.ticket for peer in peers]


# Starts


def test_a_start_that_fails_costs_no_seats(start, path: Path) -> None:
    """The address is in use, or another setting is wrong: the file is there for the next try."""
    (ticket,) = store(start, SECRETS[0])
    stored = path.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, said = run("--state", str(path), "--port", str(taken.getsockname()[1]))
        assert (code, "already in use" in said) == (2, True)
    for wrong in (("--tls-cert", "/nowhere.pem"), ("--admin", "192.0.2.1:0"), ("--token-file", "/nowhere")):
        assert run("--state", str(path), "--port", "0", *wrong)[0] == 2
    assert path.read_bytes() == stored
    assert start().keep(SECRETS[0]).ticket == ticket


def test_a_check_changes_nothing_and_reports_what_would_be_lost(start, path: Path) -> None:
    store(start, *SECRETS[:3])
    stored = path.read_bytes()
    code, out, said = run("--check-config", "--state", str(path), "--port", "0")
    assert (code, said) == (0, "")
    assert f'state = "{path}"  # flag' in out
    path.write_bytes(stored[:-1])
    code, _, said = run("--check-config", "--state", str(path), "--port", "0")
    assert (code, "will be lost: not a whole snapshot: its checksum is wrong" in said) == (0, True)
    assert path.read_bytes() == stored[:-1]
    assert not path.with_name("state.lock").exists() or not path.with_name("state.lock").stat().st_size


@pytest.mark.parametrize("check", [(), ("--check-config",)], ids=["start", "check"])
def test_a_server_that_cannot_write_its_file_does_not_start(tmp_path: Path, check: tuple[str, ...]) -> None:
    """Otherwise the error would appear only at the stop, when the seats are lost."""
    file = tmp_path / "file"
    file.write_text("precious")
    (tmp_path / "folder").mkdir()
    for path, words in (
        (tmp_path / "nowhere" / "state", "no such directory"),
        (file / "state", "no such directory"),
        (tmp_path / "folder", "cannot read the file: it is a directory"),
    ):
        code, _, said = run("--state", str(path), "--port", "0", *check)
        assert (code, words in said, len(said.splitlines())) == (2, True, 1), said
    assert file.read_text() == "precious"


def test_a_directory_that_may_only_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so the system's answer is given here."""
    monkeypatch.setattr(os, "access", lambda place, mode: not (mode & os.W_OK and place == str(path.parent)))
    with pytest.raises(ConfigError, match=r"cannot write into .*: permission denied"):
        InProcess(port=0, state=str(path))


def test_two_servers_do_not_share_a_file(start, path: Path) -> None:
    """The second is refused while the first runs, and may start when that one has stopped or was killed."""
    server = start()
    code, _, said = run("--state", str(path), "--port", "0")
    assert (code, said) == (2, f"rankmux-server: --state is '{path}': another server uses that file\n")
    assert run("--check-config", "--state", str(path), "--port", "0")[0] == 0
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    assert stop(start()) == 0
    start()


def test_the_next_server_may_start_while_this_one_drains(path: Path) -> None:
    """It restores the seats; the first one sends its remaining output meanwhile."""
    with socket.socket() as sock:
        first = InProcess(port=0, state=str(path), log_level="error")
        sock.connect(first.address)
        sock.sendall(Hello("ada", keep=Keep(60_000, 0, SECRETS[0])).encode())
        turns_until(first, lambda: len(first.room))
        first.stop()
        first.step(0)
        second = InProcess(port=0, state=str(path), log_level="error")
        assert not first.stopped
        assert (second.instance, len(second.room)) == (first.instance, 1)
        second.close()
        first.close()


def test_a_file_with_the_name_of_the_draft(start, path: Path, tmp_path: Path) -> None:
    """The rest of a server that was killed as it wrote, or a link to something precious."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    path.with_name("state.new").symlink_to(precious)
    store(start, SECRETS[0])
    assert precious.read_text() == "precious"
    assert {entry.name for entry in tmp_path.iterdir()} == {"state", "state.lock", "precious"}
    for name in ("state", "state.lock"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_another_format(start, path: Path) -> None:
    """Of a later release, say: a new instance, and the log says why."""
    store(start, SECRETS[0])
    body = b"RANKMUX\x07" + path.read_bytes()[8:-4]
    path.write_bytes(body + crc32(body).to_bytes(4))
    server = start()
    assert server.keep(SECRETS[0]).joined.how == How.NEW
    assert r"its format is b'RANKMUX\x07'" in server.log()
    assert not path.exists()


def test_more_members_than_seats(start, path: Path) -> None:
    """None is lost; no newcomer is admitted until there is room."""
    store(start, *SECRETS[:3])
    server = start(2)
    last = server.keep(SECRETS[2])
    assert (last.joined.how, last.joined.rank) == (How.RETURNED, 2)
    refused(server, Code.FULL)
    server.keep(SECRETS[0]).leave()
    last.wait_for_total(2)
    refused(server, Code.FULL)
    server.keep(SECRETS[1]).leave()
    last.wait_for_total(1)
    assert server.join().joined.rank == 1


# Stops


def test_members_that_leave_as_the_server_stops(start) -> None:
    """A LEAVE that arrived before the stop ends the seat; the others are kept."""
    server = start()
    leaves, stays = server.keep(SECRETS[0]), server.keep(SECRETS[1])
    with server.one_turn():
        leaves.send(Leave())
        server.signal(signal.SIGTERM)
    leaves.drain()
    last = stays.drain()[-1]
    assert isinstance(last, Error)
    assert last.code == Code.SHUTDOWN
    leaves.close()
    stays.close()
    assert server.wait() == 0
    server = start()
    assert [seat.ticket for seat in server.observe().who().seats] == [stays.ticket]


def test_a_second_signal_leaves_the_file_too(start) -> None:
    server = start()
    peers = [server.keep(SECRETS[0]), server.keep(SECRETS[1])]
    with server.one_turn():
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGINT)
    assert server.wait() in {130, 143}
    server = start()
    assert [seat.ticket for seat in server.observe().who().seats] == [peer.ticket for peer in peers]


def test_a_kick_and_a_stop_in_one_turn(path: Path) -> None:
    """The answers said that two members are kicked, one of them absent: their seats must not be restored."""
    with ExitStack() as stack:
        server = InProcess(port=0, state=str(path), log_level="error", first_ticket=1)
        for secret in SECRETS[:3]:
            sock = stack.enter_context(socket.create_connection(server.address))
            sock.sendall(Hello("", keep=Keep(60_000, 0, secret)).encode())
            turns_until(server, lambda secret=secret: len(server.room) > SECRETS.index(secret))
        sock.shutdown(socket.SHUT_WR)
        turns_until(server, lambda: server.room.line.kept.absent)
        server.stop()
        step = server._endpoint.turn
        server._endpoint.turn = lambda *news: (
            step(*news),
            server.kick(2),
            server.kick(3),
        )
        server.step(0)
        server.close()
        following = InProcess(port=0, state=str(path), log_level="error")
        assert list(following.room.ranks.tickets) == [1]
        following.close()


def test_a_file_that_cannot_be_written_is_reported(start, path: Path, tmp_path: Path) -> None:
    """The directory was deleted: an error in the log, and an exit code of its own."""
    folder = tmp_path / "folder"
    folder.mkdir()
    server = start(3, "--state", str(folder / "state"), "--log-format", "json")
    kept = server.keep(SECRETS[0])
    shutil.rmtree(folder)
    assert stop(server, kept) == 1
    assert '"level": "error", "event": "state_lost"' in server.log()


def test_the_file_is_synced_to_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file before its rename, the rename before the lock is released; its deletion before the first turn."""
    calls: list[str] = []
    real = {name: getattr(os, name) for name in ("fsync", "replace", "unlink")}

    def fsync(fd: int) -> None:
        calls.append("sync " + ("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"))
        real["fsync"](fd)

    def named(name: str):
        def call(*arguments: str) -> None:
            real[name](*arguments)  # a failed call does not count
            calls.append(name)

        return call

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", named("replace"))
    monkeypatch.setattr(os, "unlink", named("unlink"))
    server = InProcess(port=0, state=str(path), log_level="error")
    assert calls == []
    server.stop()
    server.serve_forever()
    assert calls == ["sync file", "replace", "sync directory"]
    calls.clear()
    InProcess(port=0, state=str(path), log_level="error").close()
    assert calls == ["unlink", "sync directory"]


# Restarts


def test_with_socket_activation(path: Path) -> None:
    """The listener outlives the server: a client that connects in between gets its seat."""
    become = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        "os.execv(sys.executable, [sys.executable, '-m', 'rankmux', 'server', *sys.argv[2:]])"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:

        def begin() -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-c", become, str(listener.fileno()), "--state", str(path)],
                cwd=ROOT,
                pass_fds=(listener.fileno(),),
                env={**environment(False), "LISTEN_FDS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.stdout.close)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        def come(number: int) -> Peer:
            peer = Peer(*listener.getsockname())
            stack.callback(peer.close)
            peer.raw(Hello("", keep=Keep(60_000, 0, SECRETS[number])).encode())
            return peer

        process = begin()
        peers = [come(0)]
        seats = [peers[0].expect(Welcome, START_S)]
        for _ in range(3):
            process.terminate()
            for peer in peers:
                peer.drain()
                peer.close()
            assert process.wait(15) == 0
            peers = [come(0)]  # while no server runs
            process = begin()
            seats.append(peers[0].expect(Welcome, START_S))
        assert {(seat.ticket, seat.rank, seat.instance) for seat in seats} == {
            (seats[0].ticket, 0, seats[0].instance)
        }
        assert [seat.how for seat in seats] == [How.NEW, *[How.RETURNED] * 3]


@pytest.mark.slow
def test_the_order_is_the_same_after_each_of_twenty_restarts(start) -> None:
    """In whatever order the clients return; instance, tickets and the baton stay, and seqs continue."""
    order = random.Random(12)
    server = start()
    peers = [server.keep(secret) for secret in SECRETS]
    peers[0].send(Write(1, b"note"))
    before = peers[0].settle()[0]
    tickets, instance = [peer.ticket for peer in peers], peers[0].joined.instance
    seq = 0
    for _ in range(20):
        assert stop(server, *peers) == 0
        server = start()
        shuffled = list(enumerate(SECRETS))
        order.shuffle(shuffled)
        for number, secret in shuffled:
            peer = peers[number] = server.keep(secret)
            assert (peer.ticket, peer.joined.rank, peer.joined.how) == (tickets[number], number, How.RETURNED)
            assert peer.joined.instance == instance
            assert peer.joined.seq > seq
            seq = peer.joined.seq
            if not number:
                peer.expect(Baton, seq=before.seq, ticket=tickets[0], payload=b"note")


def test_a_killed_server_leaves_no_file_and_tickets_grow(path: Path) -> None:
    """A new instance: its first ticket comes from the clock, and so it is larger than any before."""
    tickets, instances = [], set()
    for _ in range(3):
        server = Server(3, "--state", str(path), first_ticket=None)
        try:
            kept = server.keep(SECRETS[0])
            tickets.append(kept.ticket)
            instances.add(kept.joined.instance)
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
            assert not path.exists()
        finally:
            server.stop()
    assert tickets == sorted(set(tickets))
    assert len(instances) == 3


def test_a_clock_that_went_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tickets go on with the file; without one the clock decides, unless `first_ticket` does (docs/howto-leader.md)."""

    def first_ticket(seconds: int, **settings: int) -> int:
        monkeypatch.setattr(time, "time_ns", lambda: seconds * 1_000_000_000 + 1_999_999)
        server = InProcess(port=0, state=str(path), log_level="error", **settings)
        ticket = server.room.line.next_ticket
        server.stop()
        server.serve_forever()
        return ticket

    assert first_ticket(2_000_000_000) == 2_000_000_000_001_000
    assert first_ticket(1_000_000_000) == 2_000_000_000_001_000
    path.unlink()
    assert first_ticket(1_000_000_000) == 1_000_000_000_001_000
    path.unlink()
    assert first_ticket(1_000_000_000, first_ticket=2_000_000_000_001_007) == 2_000_000_000_001_007
