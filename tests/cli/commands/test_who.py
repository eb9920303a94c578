"""rankmux-client who."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import ExitStack

import pytest

from rankmux import Client
from rankmux.cli.commands.who import table
from rankmux.server.server import Server

from ...support.script import ENDING, Script, eventually, json_lines, run


def test_a_listing_that_takes_no_seat(scene):
    scene.joined("hold", "--name", "ada")
    scene.joined("hold", "--name", "bob")
    code, out, err = scene.run("who")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["RANK", "TICKET", "LOAD", "ADDRESS", "NAME"]
    assert [(row[-1], row[0]) for row in rows[1:]] == [("ada", "0"), ("bob", "1")]
    listing = json.loads(scene.run("who", "--json")[1])
    assert (listing["rank"], listing["ticket"]) == (None, None)


def test_a_full_room(tmp_path):
    with Server(port=0, seats=1) as server, Client(*server.address, name="ada"):
        code, out, _ = run("who", "--port", server.address[1])
    assert (code, "ada" in out) == (0, True)


def test_absent_members(scene):
    Client(*scene.server.address, name="away", keep_s=60).close(leave=False)
    with scene.client(observe=True) as observer:
        eventually(lambda: observer.who()[0].absent)
    assert scene.run("who")[1].splitlines()[1].split()[2::2] == ["absent", "away"]
    assert json.loads(scene.run("who", "--json")[1])["members"][0]["absent"] is True


def test_through_a_held_seat(scene):
    seat = scene.hold("--name", "ada")
    code, out, _ = scene.run("who", "--json", "--seat", seat)
    assert code == 0
    listing = json.loads(out)
    assert (listing["rank"], [member["name"] for member in listing["members"]]) == (0, ["ada"])
    assert scene.run("who", env={"RANKMUX_SEAT": seat})[1].count("\n") == 2


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("number", ENDING)
def test_watching(scene, held, number):
    seat = scene.hold("--name", "ada")
    script = scene.start("who", "--watch", "--json", *(("--seat", seat) if held else ()))
    script.until(r"\n", "out")
    with scene.client(name="bob"):
        script.until("joined", "out")
    script.until("left", "out")
    assert script.end(number) == 0
    listing, joined, left = json_lines(script.out)
    assert [member["name"] for member in listing["members"]] == ["ada"]
    bob = {"ticket": joined["ticket"], "rank": 1, "name": "bob"}
    assert joined == {"seq": joined["seq"], "what": "joined", "member_count": 2, **bob}
    assert left == {"seq": left["seq"], "what": "left", "member_count": 1, **bob}
    assert script.err == ""


def test_watching_in_words(scene):
    script = scene.start("who", "--watch")
    script.until(r"NAME\n", "out")
    client = Client(*scene.server.address, name="bob", keep_s=60)
    client.close(leave=False)
    script.until(r"joined: rank 0, ticket \d+, bob; 1 member\n", "out")
    script.until(r"absent: rank 0, ticket \d+, bob; 1 member\n", "out")
    assert script.end(ENDING[0]) == 0


@pytest.mark.parametrize("held", [False, True])
def test_watching_until_the_server_ends(tmp_path, held):
    path = tmp_path / "seat"
    with ExitStack() as stack:
        server = stack.enter_context(Server(port=0, seats=2))
        where = ("--port", server.address[1])
        holder = stack.enter_context(Script("hold", *where, "--seat", path, "--reconnect"))
        holder.until("Assigned rank")
        script = stack.enter_context(Script("who", *where, "--watch", *(("--seat", path) if held else ())))
        script.until(r"NAME\n.*\n", "out")
        server.stop()
        assert script.end() == 5
        assert script.err.startswith("rankmux-client: ")
        holder.end(ENDING[0])


@pytest.mark.parametrize("held", [False, True])
def test_watching_ends_when_its_reader_does(scene, held):
    """It ends without new output; otherwise it would wait for the next change."""
    seat = scene.hold()
    script = scene.start("who", "--watch", *(("--seat", seat) if held else ()))
    script.until(r"NAME\n.*\n", "out")
    script.stop_reading("out")
    assert script.end() == 1
    assert script.err == ""


def test_the_holder_watches_only_while_a_client_does(tmp_path):
    path = tmp_path / "seat"
    with (
        Server(port=0, seats=2, observers_max=1) as server,
        Script("hold", "--port", server.address[1], "--seat", path) as holder,
    ):
        holder.until("Assigned rank")
        for _ in range(3):
            with Script("who", "--watch", "--seat", path) as script:
                script.until(r"NAME\n.*\n", "out")
                assert script.end(ENDING[1]) == 0
        holder.end(ENDING[0])


def test_more_than_fit_into_a_frame(scene):
    """Names and addresses of 8 members do not fit into a frame of 64 bytes; the listing joins several pages."""
    with Server(port=0, seats=8, max_payload=64) as server:
        scripts = [Script("hold", "--port", server.address[1], "--name", f"member {n}") for n in range(4)]
        for script in scripts:
            script.until("Assigned rank")
        out = run("who", "--port", server.address[1])[1]
        assert sorted(line.split()[-1] for line in out.splitlines()[1:]) == ["0", "1", "2", "3"]
        for script in scripts:
            with script:
                script.end(ENDING[0])


def test_no_held_seat_to_ask(tmp_path):
    assert run("who", "--seat", tmp_path / "none")[0] == 5
    assert run("who", "--interval", "1")[0] == 2


def test_an_encoding_that_lacks_a_letter(scene):
    scene.client(name="zoë")
    code, out, err = scene.run("who", env={"PYTHONIOENCODING": "ascii"})
    assert (code, err) == (0, "")
    assert "zo\\xeb" in out


@pytest.mark.parametrize("members", [b"[1", b"[1]", b"[{}]", b"7", b"null"])
def test_an_invalid_answer_of_the_holder(tmp_path, members):
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


def test_a_long_address_does_not_widen_the_whole_column():
    rows = [
        {"rank": rank, "ticket": rank, "load": 0, "name": "", "address": "a" * rank} for rank in (1, 10_000)
    ]
    assert max(map(len, table(rows, 1))) < 350
