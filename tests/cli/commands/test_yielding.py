"""rankmux-client yield."""

from __future__ import annotations

import signal

from ...support.script import alive, eventually, json_lines


def names(scene) -> list[str]:
    return [member["name"] for member in json_lines(scene.run("who", "--json")[1])[0]["members"]]


def test_a_held_seat_steps_back(scene, tmp_path):
    path = tmp_path / "seat"
    holder = scene.joined("hold", "--seat", path, "--name", "a")
    scene.joined("hold", "--name", "b")
    scene.joined("hold", "--name", "c")
    assert scene.run("yield", "--seat", path)[:2] == (0, "2\n")
    holder.until("Stepped back to rank: 2")
    assert names(scene) == ["b", "c", "a"]
    assert scene.run("yield", env={"RANKMUX_SEAT": path})[0] == 4, "nobody is below now"


def test_no_member_is_below(scene):
    seat = scene.hold()
    code, out, err = scene.run("yield", "--seat", seat)
    assert (code, out, err) == (4, "", "rankmux-client: refused, nobody is below you\n")
    assert scene.run("yield")[0] == 4, "a seat joined for this run is the last"
    assert scene.run("yield", "--seat", seat.parent / "none")[0] == 5


def test_a_seat_that_stepped_back_is_promoted_again(scene, tmp_path):
    path = tmp_path / "seat"
    ranks = tmp_path / "ranks"
    hook = f"sh -c 'echo $RANKMUX_RANK >> {ranks}'"
    worker = scene.joined("work", "--seat", path, "--hook-promoted", hook, "--", "cat")
    other = scene.joined("hold")
    assert scene.run("yield", "--seat", path)[:2] == (0, "1\n")
    other.until("New rank: 0 of 1, was 1 .a member above you stepped back.")
    assert other.end(signal.SIGINT) == 130
    worker.until("New rank: 0 of 1, was 1")
    eventually(lambda: ranks.exists() and ranks.read_text().split() == ["0", "0"])


def test_wait_ends_its_program_first_and_runs_it_again_in_its_turn(scene, tmp_path):
    path = tmp_path / "seat"
    first = scene.start("wait", "--seat", path, "--", "sh", "-c", "echo pid $$; exec sleep 100")
    pid = int(first.until(r"pid (\d+)\n")[1])
    assert scene.run("yield", "--seat", path)[0] == 4
    assert alive(pid), "where nobody is below, it goes on"
    second = scene.joined("wait", "--", "sh", "-c", f"kill -0 {pid} || echo alone; exec sleep 100")
    assert scene.run("yield", "--seat", path)[:2] == (0, "1\n")
    second.until("alone\n", "out")
    assert second.end(signal.SIGTERM) == 0
    again = int(first.until(r"pid \d+\npid (\d+)\n")[1])
    assert alive(again)
    assert first.end(signal.SIGTERM) == 0
