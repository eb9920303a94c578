"""rankmux-client baton, and the note as a file for the program of `wait`."""

from __future__ import annotations

import signal
import stat
import sys
from pathlib import Path

BATON = f"{sys.executable} -m rankmux client baton"


def test_writing_reading_and_deleting(scene):
    seat = scene.hold()
    below = scene.hold()
    assert scene.run("baton", "--seat", seat) == (0, "", "")
    assert scene.run("baton", "--seat", seat, "job 17") == (0, "", "")
    assert scene.run("baton", env={"RANKMUX_SEAT": seat}) == (0, "job 17", "")
    text = bytes(range(1, 256)) * 100
    assert scene.run("baton", "--seat", seat, "-", text=text)[0] == 0
    assert scene.run("baton", "--seat", seat)[1].encode(errors="surrogateescape") == text
    for flags in ((), ("x",), ("--delete",)):
        code, out, err = scene.run("baton", "--seat", below, *flags)
        assert (code, out, "refused" in err) == (4, "", True)
    assert scene.run("baton", "--seat", seat, "--delete")[0] == 0
    assert scene.run("baton", "--seat", seat) == (0, "", "")


def test_a_seat_of_its_own(scene):
    """In an empty room it has rank 0, and the note stays with the server."""
    assert scene.run("baton", "job 17") == (0, "", "")
    assert scene.run("baton") == (0, "job 17", "")
    scene.joined("hold")
    assert scene.run("baton")[0] == 4


def test_wrong_use(scene):
    seat = scene.hold()
    assert scene.run("baton", "--delete", "x")[0] == 2
    code, _, err = scene.run("baton", "--seat", seat, "-", text=b"x" * 65_537)
    assert (code, "the payload has 65537 bytes" in err) == (2, True)
    assert scene.run("baton", "--seat", seat.parent / "none")[0] == 5


def test_the_next_leader_reads_it(scene):
    show = 'echo "got <$(cat "$RANKMUX_BATON_FILE")> in $RANKMUX_BATON_FILE"'
    write = f'{BATON} "from $RANKMUX_TICKET" && echo written'
    program = f"{show}; {write}; exec sleep 100"
    first = scene.start("wait", "--", "sh", "-c", program)
    file = Path(first.until(r"got <> in (.*)\n")[1])
    first.until("written")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    second = scene.joined("wait", "--", "sh", "-c", program)
    assert first.end(signal.SIGTERM) == 0
    assert not file.exists()
    second.until(r"got <from \d+> in ")
    assert second.end(signal.SIGTERM) == 0


def test_other_ranks_get_no_file(scene):
    scene.client()
    code, out, _ = scene.run("wait", "--rank", 1, "--", "sh", "-c", "echo ${RANKMUX_BATON_FILE-none}")
    assert (code, out) == (0, "none\n")
