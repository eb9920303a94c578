"""rankmux-client who."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from rankmux.cli.commands.who import table
from rankmux.server.server import Server

from ...support.script import ENDING, Script, json_lines, run


def test_a_listing(scene):
    scene.joined("hold", "--name", "ada")
    scene.joined("hold", "--name", "bob")
    code, out, err = scene.run("who", "--name", "me")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["RANK", "TICKET", "LOAD", "ADDRESS", "NAME"]
    assert [(row[-1], row[-5]) for row in rows[1:]] == [("ada", "0"), ("bob", "1"), ("me", "2")]
    assert rows[3][0] == "*"


def test_through_a_held_seat(scene):
    seat = scene.hold("--name", "ada")
    code, out, _ = scene.run("who", "--json", "--seat", seat)
    assert code == 0
    listing = json.loads(out)
    assert (listing["rank"], [member["name"] for member in listing["members"]]) == (0, ["ada"])
    assert scene.run("who", env={"RANKMUX_SEAT": seat})[1].count("\n") == 2


def test_watching(scene):
    seat = scene.hold("--name", "ada")
    script = scene.start("who", "--watch", "--interval", "0.05", "--json", "--seat", seat)
    script.until(r"\n", "out")
    with scene.client(name="bob"):
        script.until("bob", "out")
    script.until(r"bob.*\n.*\n", "out")
    assert script.end(ENDING[1]) == 130
    names = [[member["name"] for member in line["members"]] for line in json_lines(script.out)]
    assert names == [["ada"], ["ada", "bob"], ["ada"]]


def test_watching_ends_when_nobody_reads_it(scene):
    """It ends without new output; otherwise it would keep its seat until the next join or departure."""
    script = scene.start("who", "--watch", "--interval", "0.05")
    script.until(r"NAME\n.*\n", "out")
    script.stop_reading("out")
    assert script.end() == 1
    assert script.err == ""


def test_more_than_fit_into_a_frame(scene):
    """Names and addresses of 8 members do not fit into a frame of 64 bytes; the listing joins several pages."""
    with Server(port=0, seats=8, max_payload=64) as server:
        scripts = [Script("hold", "--port", server.address[1], "--name", f"member {n}") for n in range(4)]
        for script in scripts:
            script.until("Assigned rank")
        out = run("who", "--port", server.address[1])[1]
        assert sorted(line.split()[-1] for line in out.splitlines()[1:-1]) == ["0", "1", "2", "3"]
        for script in scripts:
            with script:
                script.end(ENDING[0])


def test_nobody_to_ask(tmp_path):
    assert run("who", "--seat", tmp_path / "none")[0] == 5
    assert run("who", "--interval", "0")[0] == 2


def test_an_encoding_that_lacks_a_letter(scene):
    scene.client(name="zoë")
    code, out, err = scene.run("who", env={"PYTHONIOENCODING": "ascii"})
    assert (code, err) == (0, "")
    assert "zo\\xeb" in out


@pytest.mark.parametrize("members", [b"[1", b"[1]", b"[{}]", b"7", b"null"])
def test_a_holder_that_talks_nonsense(tmp_path, members):
    path = tmp_path / "seat"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def hold() -> None:
            with listener.accept()[0] as sock:
                sock.sendall(
                    b'{"is":"seat","ticket":1}\n{"is":"members","id":0,"size":%d}\n' % len(members) + members
                )
                sock.recv(4096)

        holder = threading.Thread(target=hold)
        holder.start()
        code, out, err = run("who", "--seat", path)
        holder.join()
    assert (code, out, err) == (5, "", "rankmux-client: the list of members makes no sense\n")


def test_no_name_takes_the_room_of_all_others():
    rows = [
        {"rank": rank, "ticket": rank, "load": 0, "name": "", "address": "a" * rank} for rank in (1, 10_000)
    ]
    assert max(map(len, table(rows, 1))) < 350
