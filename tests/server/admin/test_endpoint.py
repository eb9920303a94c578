from __future__ import annotations

import json
import re
import socket
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from rankmux.errors import AddressInUse, ConfigError
from rankmux.server.admin.endpoint import CONNECTIONS_MAX
from rankmux.server.server import Server
from rankmux.wire import Command, Leave

from ...support.admin_client import dial, get, get_json, join, receive, turns_until, watched

ASK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_health_and_the_index():
    with watched() as server:
        assert get(server, "/healthz") == (200, "ok\n")
        assert get(server, "/readyz") == (200, "ready\n")
        status, text = get(server, "/nothing")
        assert status == 404
        assert "/room.json" in text


def test_members_and_closes():
    with watched(seats=4) as server:
        socks = [join(server, name) for name in ("ada", "<b>bob</b>", "", "dörte")]
        socks[0].sendall(Command(1, 0, 0, 1, 60_000, b"work").encode())
        turns_until(server, lambda: server.stats.commands)
        room = get_json(server, "/room.json")
        assert [(m["rank"], m["name"], m["load"]) for m in room["members"]] == [
            (0, "ada", 0),
            (1, "<b>bob</b>", 1),
            (2, "", 1),
            (3, "dörte", 1),
        ]
        one = room["members"][1]
        assert one["address"] == "{}:{}".format(*socks[1].getsockname())
        assert one["ticket"] == 2
        assert one["queued_bytes"] == 0
        assert 0 <= one["idle_s"] <= one["age_s"] < 60
        assert (room["total"], room["seats"], room["first"]) == (4, 4, 0)
        page = get_json(server, "/room.json?first=1&count=2&sort=load")
        assert [m["rank"] for m in page["members"]] == [2, 3]
        assert get_json(server, "/room.json?first=99")["members"] == []

        socks[1].sendall(Leave().encode())
        socks[1].close()
        turns_until(server, server.connections.closes.counts.total)
        closed = get_json(server, "/closed.json")
        assert closed["by_reason"] == {"left": 1}
        assert closed["last"][0]["name"] == "<b>bob</b>"
        assert closed["last"][0]["reason"] == "left"

        live = get_json(server, "/live.json?count=10&after=4")
        assert [(e["what"], e["rank"], e["moved"]) for e in live["events"]] == [
            ("left", 1, 0),
            ("promoted", 1, 2),
        ]
        assert live["totals"]["joins"] == 4
        assert live["totals"]["deliveries"] == 3
        assert live["totals"]["results"]["left"] == 0  # its command still awaits two results
        again = get_json(server, f"/live.json?after={live['happened']}&closed_after={live['closed']}")
        assert (again["events"], again["closes"], again["members"]) == ([], [], [])
        for sock in socks:
            sock.close()


@pytest.mark.parametrize(
    "query", ["first=-1", "first=x", "count=1e9", "sort=name", "first=" + "9" * 21, "count=²"]
)
def test_an_invalid_query_gets_an_error(query):
    with watched() as server:
        status, text = get(server, f"/room.json?{query.replace('²', '%C2%B2')}")
        assert status == 400
        assert "expected" in text


def test_the_page_has_a_strict_content_security_policy():
    with watched() as server, dial(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = receive(server, sock)
        page = response.read().decode()
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert policy.count("sha256-") == 2
        assert "://" not in page.replace("http://www.w3.org/2000/svg", "")  # no foreign host
        assert "innerHTML" not in page
        assert "insertAdjacent" not in page


def test_an_unread_answer_does_not_hold_up_the_loop():
    with watched(seats=2000) as server:
        for _ in range(1200):  # rows without connections: only their number matters here
            server.room.ranks.append(len(server.room.ranks) + 1, 0, "x" * 64, "y" * 64)
        with dial(server) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(b"GET /room.json?count=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 40)
            for _ in range(200):
                began = time.perf_counter()
                server.step(0)
                assert time.perf_counter() - began < 1.0
            assert get(server, "/healthz")[0] == 200
            assert get_json(server, "/room.json?first=1100")["total"] == 1200
        server.room.ranks.remove(range(1200))


def test_many_requests_at_once_are_answered_in_order():
    with watched() as server, dial(server) as sock:
        sock.sendall(ASK * 60)
        answers = b""

        def all_there():
            nonlocal answers
            sock.setblocking(False)
            with suppress(BlockingIOError):
                answers += sock.recv(1 << 20)
            return answers.count(b"\r\n\r\nok\n") == 60

        turns_until(server, all_there)


def test_the_limit_of_connections():
    with watched() as server:
        socks = [dial(server) for _ in range(CONNECTIONS_MAX)]
        for sock in socks:  # none of them idle: each has begun a request
            sock.sendall(b"GET /he")
        turns_until(server, lambda: len(server._endpoint) == CONNECTIONS_MAX)  # type: ignore[arg-type]
        for _ in range(5):
            server.step(0)
        with dial(server) as late:
            late.sendall(ASK)
            assert receive(server, late).status == 503
        socks[0].sendall(b"althz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert receive(server, socks[0]).status == 200
        assert get(server, "/healthz")[0] == 200  # the idle one made room
        assert socks[0].recv(1) == b""
        for sock in socks:
            sock.close()


def test_connections_are_closed_at_their_timeouts():
    clock = _Clock()
    with watched(clock=clock) as server:
        silent, begun, idle = dial(server), dial(server), dial(server)
        begun.sendall(b"GET /")
        idle.sendall(ASK)
        assert receive(server, idle).status == 200
        turns_until(server, lambda: len(server._endpoint) == 3)  # type: ignore[arg-type]
        for after_s, left in ((4.0, 3), (1.5, 1), (20.0, 1), (6.0, 0)):
            clock.offset += after_s
            for _ in range(3):
                server.step(0)
                clock.offset += 0.01
            turns_until(server, lambda left=left: len(server._endpoint) == left)  # type: ignore[arg-type]
        for sock in (silent, begun, idle):
            assert sock.recv(1) == b""
            sock.close()


class _Clock:
    def __init__(self):
        self.offset = 0.0

    def __call__(self):
        return time.monotonic() + self.offset


def test_shutting_down_is_healthy_but_not_ready():
    with watched() as server:
        member = join(server, "ada")
        server.stop(5.0)
        server.step(0)
        assert get(server, "/readyz") == (503, "shutting down\n")
        assert get(server, "/healthz") == (200, "ok\n")
        member.close()
        turns_until(server, lambda: server.stopped)


def test_a_unix_socket(tmp_path):
    path = tmp_path / "admin.sock"
    with watched(admin="", admin_unix=str(path)) as server:
        assert server.admin_where == [f"unix:{path}"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert get(server, "/healthz", "X-Host: any")[0] == 200
    assert not path.exists()


@pytest.mark.parametrize(
    "admin", ["nonsense", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999", "no.such.host.invalid:1"]
)
def test_an_invalid_address(admin):
    with pytest.raises(ConfigError) as caught:
        Server(port=0, admin=admin)
    assert caught.value.key == "admin"


def test_only_on_loopback_unless_insecure():
    with pytest.raises(ConfigError, match="loopback"):
        Server(port=0, admin="0.0.0.0:0")
    with watched(admin="0.0.0.0:0", insecure=True) as server:
        assert get(server, "/healthz")[0] == 200


def test_a_port_in_use_leaves_the_other_one_free():
    with watched() as server:
        port = server.admin_where[0].rstrip("/").rpartition(":")[2]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            listening = probe.getsockname()[1]
        with pytest.raises(AddressInUse, match="already in use"):
            Server(port=listening, admin=port)
        Server(port=listening).close()  # the port was released


@pytest.mark.parametrize("key", ["admin", "metrics"])
@pytest.mark.parametrize("where", ["{}", "127.0.0.1:{}", "localhost:{}"])
def test_a_port_that_this_server_has_itself(key, where):
    """Members, the page and the figures each need a separate port; the error names the one that has it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(
        ConfigError, match=rf"^{key} is '[a-z0-9.]+:{port}': .* than {port}, which is that of port$"
    ):
        Server(port=port, **{key: where.format(port)})
    with pytest.raises(ConfigError, match=f"another port than {port}, which is that of admin"):
        Server(port=0, admin=f"127.0.0.1:{port}", metrics=where.format(port))
    Server(port=port, admin="0", metrics="0").close()


def test_missing_settings_are_named(monkeypatch):
    for module in [
        name for name in sys.modules if name.startswith("rankmux.server.admin.") and "opening" not in name
    ]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "h11", None)
    with pytest.raises(ConfigError, match=r"'\.\[admin\]' in a clone"):
        Server(port=0, admin="0")


def test_nothing_listens_unless_asked():
    server = Server(port=0)
    assert server.admin_where == []
    server.close()


def test_the_socket_file_of_another_stays(tmp_path):
    path = tmp_path / "admin.sock"
    with watched(admin="", admin_unix=str(path)):
        path.unlink()
        Path(path).write_text(json.dumps({}))
    assert path.exists()


def test_figures_can_be_read_from_elsewhere_and_nothing_else():
    """Without `insecure`, which would open the members' port as well."""
    with watched(admin="", metrics="0.0.0.0:0") as server:
        socks = [join(server, "ada")]
        (where,) = server.admin_where
        assert re.fullmatch(r"http://0\.0\.0\.0:\d+/metrics", where)
        assert get(server, "/healthz", "X: a") == (200, "ok\n")
        assert get(server, "/readyz") == (200, "ready\n")
        status, text = get(server, "/metrics")
        assert (status, "rankmux_members 1.0" in text) == (200, True)
        assert "ada" not in text
        assert "{}:{}".format(*socks[0].getsockname()) not in text
        for path in ("/", "/room.json", "/closed.json", "/live.json", "/kick?ticket=1", "/nothing"):
            assert get(server, path) == (404, "not found; the paths are /metrics /healthz /readyz\n")
        for sock in socks:
            sock.close()


def test_figures_and_the_page_side_by_side():
    with watched(metrics="0") as server:
        assert [where.partition("/metrics")[1] for where in server.admin_where] == ["", "/metrics"]
        assert get(server, "/room.json")[0] == 200


def test_head_is_get_without_the_body():
    with watched() as server:
        for path in ("/healthz", "/metrics", "/room.json", "/"):
            with dial(server) as sock:
                sock.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                asked = server._endpoint.requests + 1  # type: ignore[attr-defined]
                turns_until(server, lambda asked=asked: server._endpoint.requests == asked)  # type: ignore[attr-defined]
                turns_until(server, lambda: not server._endpoint.busy)
                data = b""
                while more := sock.recv(1 << 16):
                    data += more
            head, _, body = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert int(re.search(rb"(?i)content-length: (\d+)", head)[1]) > 0  # type: ignore[index]
            assert body == b""
