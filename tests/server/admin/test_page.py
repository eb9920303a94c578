"""The page in a real browser: a full room, a flow of commands, departures, and malicious names."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rankmux.server.server import Server
from rankmux.wire import Command, Hello, Keep, Yield

from ...support.memory_log import MemoryLog, Store
from ...support.webdriver import Browser, browser

MEMBERS = 1000
EVIL = (
    "<img src=x onerror='window.hurt=1'>",
    "</script><script>window.hurt=1</script>",
    "&lt;b&gt;",
    "')-alert(1)-('",
)


class Crowd:
    """Members that read their frames, in a separate thread."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socks = [
            self._join(address, EVIL[n] if n < len(EVIL) else f"worker-{n}") for n in range(MEMBERS)
        ]
        self._reader = threading.Thread(target=self._read)
        self._stop = threading.Event()
        self._reader.start()

    def _join(self, address: tuple[str, int], name: str) -> socket.socket:
        sock = socket.create_connection(address)
        sock.sendall(Hello(name).encode())
        assert sock.recv(4096)
        return sock

    def _read(self) -> None:
        poll = select.poll()
        for sock in self.socks:
            poll.register(sock, select.POLLIN)
        of = {sock.fileno(): sock for sock in self.socks}
        while not self._stop.is_set():
            for fd, _ in poll.poll(50):
                if not of[fd].recv(65_536):
                    poll.unregister(fd)

    def close(self) -> None:
        self._stop.set()
        self._reader.join()
        for sock in self.socks:
            sock.close()


@pytest.fixture(scope="module")
def page() -> Iterator[tuple[Browser, Server, Crowd]]:
    with (
        browser() as opened,
        Server(port=0, seats=MEMBERS, admin="0", log_level="error", ping_ms=3_600_000) as server,
    ):
        crowd = Crowd(server.address)
        try:
            yield opened, server, crowd
        finally:
            crowd.close()


def text(opened: Browser, selector: str) -> Any:
    return opened.run(f"return [...document.querySelectorAll({selector!r})].map(n => n.textContent)")


def pictures(opened: Browser, name: str) -> None:
    """RANKMUX_PICTURES=FOLDER keeps screenshots."""
    if folder := os.environ.get("RANKMUX_PICTURES"):
        opened.picture(str(Path(folder) / f"{name}.png"))


@pytest.mark.slow
def test_the_room_live(page):
    opened, server, crowd = page
    opened.resize(1400, 900)
    opened.open(server.admin_where[0])
    opened.wait_for(
        "document.querySelector('#state').textContent === 'live' && document.querySelector('#space .row')"
    )
    assert text(opened, "#tile-members b") == ["1000"]
    assert text(opened, "#space .row .who > span")[: len(EVIL)] == list(EVIL)  # as text, unchanged
    assert opened.run(
        "return window.hurt === undefined && !document.querySelector('#space img, #space script')"
    )
    assert opened.run("return document.querySelectorAll('#space .row').length") < 80

    spans = opened.run("return [50e-6, 0.0025, 0.025, 0.1, 0.25, 2.5].map(short)")
    assert spans == ["50 µs", "2.5 ms", "25 ms", "100 ms", "250 ms", "2.5 s"]

    for id_ in range(20):
        crowd.socks[0].sendall(Command(id_, 0, 0, 1, 60_000, b"work").encode())
    opened.wait_for("parseFloat(document.querySelector('#tile-commands b').textContent) > 0")
    opened.wait_for(
        "document.querySelectorAll('#space .row')[1].querySelector('.load b').textContent === '20'"
    )
    pictures(opened, "wide")

    crowd.socks[1].shutdown(socket.SHUT_RDWR)
    opened.wait_for(
        "[...document.querySelectorAll('#events li')]"
        ".some(n => n.textContent.includes('998 promoted, to rank 1 and below'))"
    )
    opened.wait_for("document.querySelectorAll('#space .row .rank i')[1].textContent === '▲1'")
    opened.wait_for("document.querySelector('#closes li').textContent.includes('end of stream')")
    assert EVIL[1] in text(opened, "#closes li")[0]
    assert opened.run("return window.hurt === undefined")

    opened.run("document.getElementById('scroll').scrollTop = 1e7")
    opened.wait_for(
        "[...document.querySelectorAll('#space .row .rank span')].some(n => n.textContent === '998')"
    )
    opened.run("[...document.querySelectorAll('#sorts button')].find(b => b.textContent === 'load').click()")
    opened.wait_for("document.querySelector('#space .row .load b').textContent === '20'")
    assert opened.complaints() == []


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1400])
def test_no_element_overflows(page, width, dark):
    opened, server, _ = page
    opened.resize(width, 760, dark)
    opened.open(server.admin_where[0])
    opened.wait_for(
        "document.querySelector('#state').textContent === 'live' && document.querySelector('#space .row')"
    )
    assert opened.run("return document.documentElement.scrollWidth") <= width
    # Each look is one script: between two of them, the next answer of the server may change the page.
    titles, values = opened.run(
        "return ['#titles > *', '#space .row:first-child > *'].map(of => "
        "[...document.querySelectorAll(of)].map(n => Math.round(n.getBoundingClientRect().right)))"
    )
    assert titles == values
    background = opened.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == dark
    pictures(opened, f"{width}-{'dark' if dark else 'light'}")
    small = "const small = document.querySelector('#space .row small'); "
    assert opened.run(small + "return small.scrollWidth <= small.clientWidth"), "none of it is cut off"
    held = "rows = rows.map(row => ({...row, paced: true})); table(); "
    assert opened.run(held + small + "return small.innerText").startswith("held back · 127.0.0.1:")
    assert opened.complaints() == []


@pytest.mark.slow
def test_it_shows_when_the_server_does_not_answer():
    with browser() as opened:
        with Server(port=0, admin="0", log_level="error") as server:
            opened.open(server.admin_where[0])
            opened.wait_for("document.querySelector('#state').textContent === 'live'")
            assert opened.run("return document.querySelector('#empty').hidden") is False
            opened.run("history = [1, 2, 3]; ranks.set(1, {})")  # as after some answers
            port = server.admin_where[0].rstrip("/").rpartition(":")[2]
        opened.wait_for("document.querySelector('#state').textContent === 'no answer'")
        with Server(port=0, admin=port, log_level="error"):  # another server: its counts start again
            opened.wait_for(
                "document.querySelector('#state').textContent === 'live' && ranks.size === 0 && history.length < 3"
            )


@pytest.mark.slow
def test_absences_returns_and_yields():
    with ExitStack() as stack:
        opened = stack.enter_context(browser())
        server = stack.enter_context(Server(port=0, seats=4, admin="0", log_level="error"))

        def come(name: str, keep: Keep | None = None) -> socket.socket:
            sock = stack.enter_context(socket.create_connection(server.address))
            sock.sendall(Hello(name, keep=keep).encode())
            assert sock.recv(4096)
            return sock

        def told(text: str) -> None:
            opened.wait_for(
                f"[...document.querySelectorAll('#events li')].some(n => n.textContent.includes({text!r}))"
            )

        keep = Keep(60_000, 0, b"s" * 16)
        ada = come("ada", keep)
        come("bob")
        opened.resize(1400, 900)
        opened.open(server.admin_where[0])
        told("bob joined at rank 1")
        ada.shutdown(socket.SHUT_WR)
        told("ada is absent, and keeps rank 0")
        opened.wait_for(
            "document.querySelector('#space .row.absent small')?.textContent.includes('kept for')"
        )
        assert "1 absent" in text(opened, "#tile-members small span")
        ada = come("ada", keep)
        told("ada is back at rank 0")
        opened.wait_for("document.querySelector('#space .row.absent') === null")
        ada.sendall(Yield(1).encode())
        told("ada stepped back from rank 0")
        told("ada joined at rank 1")
        assert opened.complaints() == []


@pytest.mark.slow
def test_a_member_is_found(page):
    opened, server, crowd = page
    opened.resize(1400, 900)
    opened.open(server.admin_where[0])
    opened.wait_for("document.querySelector('#space .row')")
    find = "const find = document.querySelector('#find'); find.value = {!r}; find.dispatchEvent(new Event('input'))"
    address = "{}:{}".format(*crowd.socks[700].getsockname())
    for wanted, name in (("WORKER-77", "worker-77"), (address, "worker-700"), ("<img", EVIL[0])):
        opened.run(find.format(wanted))
        opened.wait_for(f"document.querySelector('#space .row .who > span').textContent === {name!r}")
        assert opened.run("return window.hurt === undefined")
    opened.wait_for("document.querySelector('#shown').textContent === '1 found'")
    opened.run(find.format("nobody at all"))
    opened.wait_for("!document.querySelector('#empty').hidden")
    assert text(opened, "#empty") == ["No member is found."]
    opened.run(find.format(""))
    opened.wait_for("/^ranks 0.\\d+ of 0.99\\d$/.test(document.querySelector('#shown').textContent)")
    assert opened.complaints() == []


@pytest.mark.slow
def test_tiles_fill_their_space_and_links_lead_somewhere(page):
    opened, server, _ = page
    opened.resize(1280, 800)
    opened.open(server.admin_where[0])
    opened.wait_for("document.querySelectorAll('#tiles polyline[points]').length === 6")
    gaps = opened.run(
        "return [...document.querySelectorAll('.tile')].map(tile => {"
        " const card = tile.getBoundingClientRect(), graph = tile.querySelector('svg').getBoundingClientRect();"
        " return [card.bottom - graph.bottom, card.right - graph.right, graph.left - card.left].map(Math.round) })"
    )
    assert all(0 <= gap <= 1 for tile in gaps for gap in tile), gaps
    ends = opened.run(
        "return [...document.querySelectorAll('polyline')].map(n => n.points[n.points.length - 1].x)"
    )
    assert ends == [100] * 6
    assert opened.run("return document.documentElement.scrollHeight") <= 800
    links = opened.run("return [...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    assert links == ["metrics", "room.json", "closed.json"]
    for link in links:
        assert (
            opened.run(
                f"const r = new XMLHttpRequest(); r.open('GET', {link!r}, false); r.send(); return r.status"
            )
            == 200
        )


@pytest.mark.slow
def test_a_phone_shows_members_first_and_their_names_whole(page):
    opened, server, _ = page
    opened.resize(360, 760)
    opened.open(server.admin_where[0])
    opened.wait_for("document.querySelectorAll('#space .row').length > 9")
    tops = opened.run(
        "return ['#scroll', '#tiles', 'aside', 'footer']"
        ".map(of => document.querySelector(of).getBoundingClientRect().top)"
    )
    assert tops == sorted(tops)
    assert tops[0] < 300
    fits = (
        "const n = document.querySelector('#space .row .who span'); n.textContent = {!r}; "
        "return n.scrollWidth <= n.clientWidth"
    )
    assert opened.run(fits.format("build-agent-eu-central-17"))
    assert not opened.run(fits.format("build-agent-eu-central-17" * 2))


@pytest.mark.slow
def test_in_a_cluster_no_address_hides_a_ticket_and_other_servers_know_the_times():
    store, names = Store(), ("berlin-1", "oslo-2")
    with ExitStack() as stack:
        opened = stack.enter_context(browser())
        settings: dict[str, Any] = {"port": 0, "log_level": "error", "ping_ms": 5000}
        servers = [Server(log_=MemoryLog(store), admin="0", server_name=name, **settings) for name in names]
        stop = threading.Event()

        def run() -> None:
            while not stop.is_set():
                for server in servers:
                    server.step(0.005)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            opened.wait_for("true")
            while not all(server.ready for server in servers):
                stop.wait(0.01)
            for server in servers:
                sock = stack.enter_context(socket.create_connection(server.address))
                sock.sendall(Hello("ada").encode())
                assert sock.recv(4096)
            opened.resize(1280, 800)
            opened.open(servers[0].admin_where[0])
            opened.wait_for("document.querySelectorAll('#space .row').length === 2")
            assert opened.run(
                "return [...document.querySelectorAll('#space small')].every(n => n.scrollWidth <= n.clientWidth)"
            )
            silent = (
                "return [...document.querySelectorAll('#space .row > :last-child')].map(n => n.textContent)"
            )
            here, elsewhere = opened.run(silent)
            assert (here.endswith(" s"), elsewhere) == (True, "\N{EN DASH}")
            assert text(opened, "#about")[0].startswith("berlin-1 of berlin-1, oslo-2 · ")
            pictures(opened, "cluster")
        finally:
            stop.set()
            thread.join()
            for server in servers:
                server.close()
