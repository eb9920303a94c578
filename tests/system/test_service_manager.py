from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rankmux.errors import ConfigError
from rankmux.server.server import Server
from rankmux.system.service_manager import Notifier, handed_sockets
from rankmux.wire import Command, Hello

DEADLINE_S = 20.0


@contextmanager
def manager(tmp_path):
    """The notification socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = tmp_path / "notify"
        sock.bind(str(path))
        sock.settimeout(DEADLINE_S)
        yield sock, str(path)


_started: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def _nothing_is_left_running():
    yield
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.kill()
        process.communicate()


_BECOME = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "rankmux", "server", *sys.argv[2:]])
"""


def start(listener: socket.socket, *flags: str, names: str = "", **environ: str) -> subprocess.Popen[bytes]:
    """A server started as by systemd: the listener is descriptor 3, and LISTEN_PID is its process."""
    process = subprocess.Popen(
        [sys.executable, "-c", _BECOME, str(listener.fileno()), *flags],
        pass_fds=(listener.fileno(),),
        env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": names, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _started.append(process)
    return process


def stop(process: subprocess.Popen[bytes]) -> str:
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors
    return errors.decode()


@contextmanager
def listening():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(4096)
        yield sock


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def test_no_connection_is_refused_during_a_restart(tmp_path):
    """A client that connects before, during or between two servers is connected at once and served in the end."""
    with manager(tmp_path) as (told, path), listening() as listener:
        address = listener.getsockname()
        served = cut = 0
        waiting: list[socket.socket] = []

        def connect() -> None:
            sock = socket.create_connection(address, timeout=DEADLINE_S)  # raises when it is refused
            sock.sendall(Hello("x").encode())
            waiting.append(sock)

        for _ in range(3):
            server = start(listener, "-n", "500", NOTIFY_SOCKET=path)
            connect()
            assert b"READY=1" in told.recv(4096)
            for _ in range(20):
                connect()
            server.send_signal(signal.SIGTERM)
            while server.poll() is None:  # while it stops, too
                connect()
                if select.select([told], [], [], 0.01)[0]:
                    assert b"STOPPING=1" in told.recv(4096)
            assert server.returncode == 0
            for _ in range(20):  # and while no server runs
                connect()
        server = start(listener, "-n", "2000", NOTIFY_SOCKET=path)
        for sock in waiting:
            head = read(sock, 5)
            if head[4:] == b"\x81":
                served += 1
            else:  # it was accepted by a server that then stopped with ERROR SHUTDOWN
                assert head[4:] == b"\x89", head
                assert read(sock, 2) == b"\x00\x08"
                cut += 1
            sock.close()
        assert served >= 60 + 3 * 20
        assert served + cut == len(waiting)
        stop(server)


def test_a_handed_socket_is_used_instead_of_the_settings(tmp_path):
    with manager(tmp_path) as (told, path), listening() as listener:
        port = listener.getsockname()[1]
        server = start(listener, "-n", "4", "--port", "1", NOTIFY_SOCKET=path, WATCHDOG_USEC="100000")
        ready = told.recv(4096).decode()
        assert ready == f"READY=1\nSTATUS=listening on 127.0.0.1:{port} for 4 clients"
        with socket.create_connection(("127.0.0.1", port)) as ada:
            ada.sendall(Hello("ada").encode() + Command(1, 0, 0, 0, 0, b"x").encode())
            for _ in range(3):
                assert told.recv(4096) == b"WATCHDOG=1"
        text = stop(server)
        assert "stopped" in text
        listener.setblocking(False)
        socket.create_connection(("127.0.0.1", port)).close()  # it listens on: it was not closed, only left


def test_admin_by_name(tmp_path):
    with manager(tmp_path) as (told, path), listening() as listener:
        server = start(listener, "--port", "0", names="admin", NOTIFY_SOCKET=path)
        assert b"READY=1" in told.recv(4096)
        with socket.create_connection(listener.getsockname(), timeout=DEADLINE_S) as sock:
            sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        stop(server)


def test_a_unix_socket_is_left_where_it_is(tmp_path):
    path = tmp_path / "rankmux.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        server = Server(listener=socket.socket(fileno=os.dup(listener.fileno())))
        assert server.where == f"unix:{path}"
        server.close()
        assert path.exists()


def test_a_handed_public_socket_is_judged_like_any(tmp_path):
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        with pytest.raises(ConfigError, match="loopback"):
            Server(listener=listener)


def test_sockets_for_another_process_are_not_ours():
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x"}
    assert handed_sockets(environ) == {}
    assert environ == {}  # nor our children's
    assert handed_sockets({}) == {}
    assert handed_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"}) == {}


def test_a_descriptor_that_is_not_a_listener_is_reported():
    out = subprocess.run(
        [
            "/bin/sh",
            "-c",
            'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3</dev/null',
            "sh",
            sys.executable,
            "-m",
            "rankmux",
            "server",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert out.returncode == 2
    assert out.stderr.count("\n") == 1
    assert "LISTEN_FDS" in out.stderr


def test_without_a_service_manager():
    for environ in ({}, {"NOTIFY_SOCKET": "/no/such/socket"}, {"WATCHDOG_USEC": "5"}):
        notifier = Notifier(environ)
        notifier.ready("x")
        notifier.alive(1.0)
        notifier.stopping()
        assert notifier.interval_s is None
        assert environ == {}


def test_an_abstract_address(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("")  # the kernel finds an abstract name
        name = os.fsdecode(sock.getsockname()[1:])
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready("up")
        assert sock.recv(99) == b"READY=1\nSTATUS=up"


DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_units_fit_together(tmp_path):
    if not DEPLOY.exists():
        pytest.skip("deploy/ is not part of what is tested here")
    service = (DEPLOY / "rankmux-server.service").read_text()
    for line in (
        "Type=notify",
        "StartLimitIntervalSec=0",
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "LimitNOFILE=65536",
        "MemoryMax=2G",
        "StateDirectory=rankmux-server",
        "Environment=RANKMUX_STATE=%S/rankmux-server/seats",
        "RuntimeDirectory=rankmux-server",
        "Environment=RANKMUX_ADMIN_UNIX=%t/rankmux-server/admin",
    ):
        assert re.search(f"^{line}$", service, re.MULTILINE), line
    verify = (
        subprocess.run(["systemd-analyze", "--version"], capture_output=True, check=False)
        if _has("systemd-analyze")
        else None
    )
    if verify is None:
        pytest.skip("no systemd-analyze here")
    (tmp_path / "rankmux-server.service").write_text(
        service.replace("/opt/rankmux/bin/rankmux-server", sys.executable)
    )
    (tmp_path / "rankmux-server.socket").write_text((DEPLOY / "rankmux-server.socket").read_text())
    nats = (DEPLOY / "nats-server.service").read_text().replace("/usr/local/bin/nats-server", sys.executable)
    (tmp_path / "nats-server.service").write_text(nats)
    (tmp_path / "rankmux-server.service.d").mkdir()
    (tmp_path / "rankmux-server.service.d" / "cluster.conf").write_text((DEPLOY / "cluster.conf").read_text())
    names = ("rankmux-server.service", "rankmux-server.socket", "nats-server.service")
    units = [str(tmp_path / name) for name in names]
    verified = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def _has(program: str) -> bool:
    return any(os.access(Path(folder) / program, os.X_OK) for folder in os.get_exec_path())


@pytest.mark.parametrize("wanted", ["²", "9" * 5000, "-1", "1.5", "x", ""])
def test_invalid_numbers(wanted):
    assert Notifier({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": wanted}).interval_s is None
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": wanted}
    assert handed_sockets(environ) == {}
    assert environ == {}


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "60000000"}], ids=["plain", "watchdog"])
def test_a_reload_is_reported_from_its_beginning_to_its_end(tmp_path, watchdog):
    """As Type=notify-reload requires: RELOADING with the time of systemd's clock, then READY."""
    config = tmp_path / "rankmux.toml"
    config.write_text("seats = 4\n")
    with manager(tmp_path) as (told, path), listening() as listener:
        server = start(listener, "--config", str(config), NOTIFY_SOCKET=path, **watchdog)
        assert b"READY=1" in told.recv(4096)
        for seats in (5, 6):
            config.write_text(f"seats = {seats}\n")
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            server.send_signal(signal.SIGHUP)
            said = [told.recv(4096).decode()]
            while not said[-1].startswith("READY=1"):
                said.append(told.recv(4096).decode())
            begun = re.fullmatch(
                r"RELOADING=1\nMONOTONIC_USEC=(\d+)", next(t for t in said if "WATCHDOG" not in t)
            )
            assert begun
            assert before <= int(begun[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            assert said[-1].endswith(f" for {seats} clients")
        errors = stop(server)
        assert "setting changed: seats is 6 (was 5)" in errors


def test_the_end_of_a_reload_is_reported_when_the_manager_reads_again(tmp_path):
    with manager(tmp_path) as (told, path):
        notifier = Notifier({"NOTIFY_SOCKET": path})
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, suppress(BlockingIOError):
            other.setblocking(False)
            while True:
                other.sendto(b"STATUS=busy", path)
        assert not notifier.reloaded("listening")
        told.recv(4096)
        assert notifier.reloaded("listening")


def test_an_address_that_is_not_used_causes_a_warning(tmp_path):
    with manager(tmp_path) as (told, path), listening() as listener:
        server = start(listener, "--port", "1", NOTIFY_SOCKET=path, RANKMUX_LISTEN_HOST="localhost")
        assert b"READY=1" in told.recv(4096)
        errors = stop(server)
        assert "host (localhost) is not used: the service manager has opened the socket" in errors
        assert "port (1) is not used: the service manager has opened the socket" in errors
        assert "unix (" not in errors
        server = start(listener, NOTIFY_SOCKET=path)
        while b"READY=1" not in told.recv(4096):
            pass
        assert "is not used" not in stop(server)


def test_a_manager_that_does_not_read(tmp_path):
    """No report waits for it but the first, which it must not miss."""
    with manager(tmp_path) as (told, path):
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1"})
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, suppress(BlockingIOError):
            other.setblocking(False)
            while True:
                other.sendto(b"STATUS=busy", path)
        began = time.monotonic()
        notifier.alive(1.0)
        notifier.stopping()
        assert time.monotonic() - began < 0.5
        reader = threading.Timer(0.1, lambda: told.recv(4096))
        reader.start()
        notifier.ready("listening")
        reader.join()
        told.setblocking(False)
        with suppress(BlockingIOError):
            while last := told.recv(4096):
                pass
        assert last == b"READY=1\nSTATUS=listening"
