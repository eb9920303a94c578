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
        Server(port=0, seats=MEMBERS, admin="0", log_level="error", ping_ms=60_000) as server,
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
        "[...document.querySelectorAll('#events li')].some(n => n.textContent.includes('998 moved up, from rank 1 on'))"
    )
    opened.wait_for("document.querySelectorAll('#space .row .rank i')[1].textContent === '▲1'")
    opened.wait_for("document.querySelector('#closes li').textContent.includes('end_of_stream')")
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
def test_nothing_sticks_out(page, width, dark):
    opened, server, _ = page
    opened.resize(width, 760, dark)
    opened.open(server.admin_where[0])
    opened.wait_for(
        "document.querySelector('#state').textContent === 'live' && document.querySelector('#space .row')"
    )
    assert opened.run("return document.documentElement.scrollWidth") <= width
    edges = (
        "return [...document.querySelectorAll({!r})].map(n => Math.round(n.getBoundingClientRect().right))"
    )
    titles, values = (opened.run(edges.format(of)) for of in ("#titles > *", "#space .row:first-child > *"))
    assert titles == values
    background = opened.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == dark
    pictures(opened, f"{width}-{'dark' if dark else 'light'}")
    small = "const small = document.querySelector('#space .row small'); "
    assert opened.run(small + "return small.scrollWidth <= small.clientWidth"), "none of it is cut off"
    opened.run("rows = rows.map(row => ({...row, paced: true})); table()")
    assert opened.run(small + "return small.innerText").startswith("paced · 127.0.0.1:")
    assert opened.complaints() == []


@pytest.mark.slow
def test_it_says_when_nobody_answers():
    with browser() as opened:
        with Server(port=0, admin="0", log_level="error") as server:
            opened.open(server.admin_where[0])
            opened.wait_for("document.querySelector('#state').textContent === 'live'")
            assert opened.run("return document.querySelector('#empty').hidden") is False
            opened.run("moves = 7")  # as after 7 promotions
            port = server.admin_where[0].rstrip("/").rpartition(":")[2]
        opened.wait_for("document.querySelector('#state').textContent === 'no answer'")
        with Server(port=0, admin=port, log_level="error"):  # another server: its counts start again
            opened.wait_for("document.querySelector('#state').textContent === 'live' && moves === 0")


@pytest.mark.slow
def test_who_is_absent_comes_back_and_steps_back():
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
        told("bob joined as rank 1")
        ada.shutdown(socket.SHUT_WR)
        told("ada is absent, and keeps rank 0")
        opened.wait_for(
            "document.querySelector('#space .row.absent small')?.textContent.includes('kept for')"
        )
        assert "1 absent" in text(opened, "#tile-members small")[0]
        ada = come("ada", keep)
        told("ada is back at rank 0")
        opened.wait_for("document.querySelector('#space .row.absent') === null")
        ada.sendall(Yield(1).encode())
        told("ada stepped back from rank 0")
        told("ada joined as rank 1")
        assert opened.complaints() == []
