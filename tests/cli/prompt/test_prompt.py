"""The prompt of rankmux-client: a real process on a real pseudo-terminal, and its screen."""

from __future__ import annotations

import os
import re
import stat
import threading
import time

import pytest

from rankmux import Rejected

from ...support.patience import until
from ...support.script import PATIENCE_S
from ...support.terminal import KEYS, SIGN


def test_the_rank_and_the_room_are_in_the_prompt(at, server):
    ada = at()
    ada.shows(r"You are rank 0 of 1: you are alone here\.")
    ada.prompts("rank 0 of 1 > ")
    bob = at()
    bob.prompts("rank 1 of 2 > ")
    ada.prompts("rank 0 of 2 > ")  # joins are not announced, so it asks
    bob.type("half")
    ada.type(KEYS["C-d"])
    assert ada.finish() == 0
    bob.shows(r"You are rank 0 now, of 1: you are alone here\. \(a member above you left\)")
    bob.prompts("rank 0 of 1 > half")


@pytest.mark.slow
def test_a_line_being_typed_survives_a_hundred_commands_a_second(senior, at):
    bob = at()
    text = "@next the line that is being typed"
    count = 500
    begun = time.monotonic()
    typed = ""
    seen = 0
    for number in range(count):
        senior.command(f"command {number}", quiet=True)
        if number % 12 == 0 and len(typed) < len(text):
            bob.type(text[len(typed)])
            typed += text[len(typed)]
        bob.look(max(0.0, begun + number / 100 - time.monotonic()))
        if f"{SIGN} " in bob.line:
            seen += 1
            assert text.startswith(bob.line.partition(f"{SIGN} ")[2])
    assert seen > 0.8 * count  # the prompt stays while lines are written
    bob.type(text[len(typed) :])
    bob.shows(f"From rank 0: command {count - 1}")
    bob.prompts(f"rank 1 of 2 > {text}")
    assert re.findall(r"^From rank 0: (.*)$", bob.text, re.MULTILINE) == [
        f"command {n}" for n in range(count)
    ]
    strays = {line for line in bob.lines if not line.startswith("From rank 0: ")}
    assert {line for line in strays if SIGN in line} == {f"rank 1 of 2 {SIGN} {text}"}
    assert len(strays) == 3  # and the two lines of the welcome


@pytest.mark.slow
def test_more_than_the_terminal_takes_is_left_out_and_it_says_so(senior, at, server):
    bob = at()
    bob.look()
    count = 25_000
    for number in range(count):
        senior.command(f"command {number}", quiet=True)
    bob_waits = time.monotonic() + PATIENCE_S
    receipt = senior.command("the last", results=True, timeout=PATIENCE_S)
    receipt.wait()  # it is answered although its terminal has no reader
    assert time.monotonic() < bob_waits
    bob.shows("From rank 0: the last")
    left_out = sum(
        int(number.replace(",", ""))
        for number in re.findall(r"^… ([\d,]+) lines are left out", bob.text, re.MULTILINE)
    )
    told = [int(number) for number in re.findall(r"^From rank 0: command (\d+)$", bob.text, re.MULTILINE)]
    assert told == sorted(told)
    assert left_out > 0
    assert len(told) + left_out == count
    bob.prompts("rank 1 of 2 > ")


def test_results_are_folded(at, below):
    ada = at()
    for name in "bcdef":
        below(lambda _, name=name: b"odd\n" if name == "d" else b"one\ntwo\n" if name == "f" else b"done\n")
    ada.prompts("rank 0 of 6 > ")
    ada.type("print\r")
    ada.shows("5 ok: print")
    until(lambda: "print: 5 ok" not in ada.lines)  # the line of progress has gone
    lines = ada.lines
    start = lines.index(f"rank 0 of 6 {SIGN} print")
    assert lines[start + 1 :] == [
        "1-2, 4: done",
        "3: odd",
        "5:",
        "  one",
        "  two",
        "5 ok: print",
        *lines[-1:],
    ]


def test_results_come_as_they_come(at, below):
    ada = at()
    gate = threading.Event()

    def fail(command: object) -> None:
        raise ValueError("no")

    def reject(command: object) -> None:
        raise Rejected("not me")

    below(lambda _: b"quick")
    below(fail)
    below(reject)
    below(lambda _: gate.wait(PATIENCE_S) and b"slow")
    ada.prompts("rank 0 of 5 > ")
    ada.type("print\rhalf")
    ada.shows("1: quick")
    ada.shows("2 failed: ValueError: no")
    ada.shows("3 rejected it: not me")
    ada.shows("print: 1 ok, 1 failed, 1 rejected; 1 waiting")
    ada.prompts("rank 0 of 5 > half")
    gate.set()
    ada.shows("4: slow")
    ada.shows("2 ok, 1 failed, 1 rejected: print")
    ada.until(lambda: not any(line.endswith("waiting") for line in ada.lines))
    ada.type(KEYS["C-c"] + KEYS["C-d"])
    assert ada.finish() == 4


def test_ctrl_c_stops_waiting(at, below):
    ada = at()
    gate = threading.Event()
    below(lambda _: b"quick")
    below(lambda _: gate.wait(PATIENCE_S) and b"slow")
    ada.prompts("rank 0 of 3 > ")
    ada.type("print\r")
    ada.shows("print: 1 ok; 1 waiting")
    ada.type("half" + KEYS["C-c"])
    ada.prompts("rank 0 of 3 > ")
    ada.shows("print: 1 ok; 1 waiting")
    ada.type(KEYS["C-c"])
    ada.shows("No longer waited for, 1 ok; 1 waiting: print")
    ada.until(lambda: "print: 1 ok; 1 waiting" not in ada.lines)
    gate.set()
    ada.type("again\r")
    ada.shows("2 ok: again")
    assert ada.text.count("slow") == 1
    ada.type(KEYS["C-c"])
    ada.shows(r"Ctrl-D leaves\.")
    ada.type("x" + KEYS["C-d"])
    ada.prompts("rank 0 of 3 > x")
    ada.type(KEYS["C-c"] + KEYS["C-d"])
    assert ada.finish() == 0
    assert ada.restored


def test_rejections_and_refusals(senior, at, below):
    bob = at()
    below(lambda _: b"")
    bob.prompts("rank 1 of 3 > ")
    bob.type("to all\r@0 obey\r@7 nobody\r@5-1 x\r@next\r")
    bob.shows("Rejected for 1 member above you: to all")
    bob.shows("1 ok: to all")
    bob.shows("Refused, nobody below you is '0': obey")
    bob.shows("Refused, nobody below you is '7': nobody")
    bob.shows("Not understood: the target is '5-1': .*")
    bob.shows("Not understood: the line is '@next': .*")
    bob.type("/quit\r")
    assert bob.finish() == 4


def test_slash_commands(at, below):
    ada = at("--name", "ada")
    got = []
    below(lambda command: got.append(command.payload), name="bob")
    ada.prompts("rank 0 of 2 > ")
    ada.type("/who\r")
    ada.shows(r"\* +0 .* ada")
    ada.shows(r" +1 .* bob")
    ada.type("/help\r")
    ada.shows("@@..., //... .*")
    ada.type("/nonsense\r")
    ada.shows("There is no /nonsense, there are /who, /help, /quit; .*")
    ada.type("help\r")
    ada.shows("A line without / is for those below you. /help: explain the prompt")
    ada.type("//nonsense\r@@home\r")
    ada.shows("1 ok: /nonsense")
    ada.shows("1 ok: @home")
    assert got == [b"help", b"/nonsense", b"@home"]
    ada.type("/quit\r")
    assert ada.finish() == 2


def test_nobody_else_writes_on_the_terminal(senior, at, below):
    bob = at()
    evil = b"\x1b[2J\x1b]0;title\x07\r\nrank 0\x9b31m\xff"
    below(lambda _: b"\x1b[1;1Hevil\x9b\nsecond\rthird\ttabbed\x1b]52;c;AAAA\x07\n", name="cyd")
    bob.prompts("rank 1 of 3 > ")
    before = len(bob.raw)
    senior.command(evil, quiet=True)
    bob.shows(re.escape(r"From rank 0: \x1b[2J\x1b]0;title\x07\r\nrank 0\x9b31m\xff"))
    bob.type("print\r")
    bob.shows(re.escape(r"  second\rthird   tabbed\x1b]52;c;AAAA\x07"))
    bob.shows(re.escape(r"  \x1b[1;1Hevil\x9b"))
    written = bytes(bob.raw[before:])
    assert b"\x1b[2J" not in written
    assert b"\x1b]" not in written
    assert b"\x9b" not in written
    assert b"\x07" not in written


def test_long_and_binary_outputs_are_cut(senior, at, below):
    bob = at()
    below(lambda _: b"\x7fELF\0" * 5000)
    below(lambda _: b"line\n" * 1000)
    below(lambda _: b"x" * 60_000)
    bob.prompts("rank 1 of 5 > ")
    bob.type("print\r")
    bob.shows(r"2: 25,000 bytes, not text: \\x7fELF\\x00.*")
    bob.shows(r"  … 800 more lines")
    bob.until(lambda: re.search(r"… 14,384 more characters", " ".join(bob.text.split())))
    bob.until(lambda: re.search(r"… 43,616 more bytes", " ".join(bob.text.split())))
    assert bob.text.count("  line\n") == 200
    senior.command(b"y" * 5000, quiet=True)
    bob.until(lambda: re.search(r"y… 4,000 more bytes", " ".join(bob.text.split())))


def test_completion(senior, at, below):
    """`senior` has a higher rank, and is not offered."""
    bob = at()
    below(lambda _: b"", name="cyd")
    below(lambda _: b"", name="sue")
    bob.prompts("rank 1 of 4 > ")
    bob.type("@s\t")
    bob.prompts("rank 1 of 4 > @sue")
    bob.type("restart all\r")
    bob.shows("1 ok: restart all")
    bob.type("@ne\t")
    bob.prompts("rank 1 of 4 > @next")
    bob.type("re\t")
    bob.prompts("rank 1 of 4 > @next restart all")
    bob.type(KEYS["C-c"] + "re\t")
    bob.prompts("rank 1 of 4 > restart all")
    bob.type(KEYS["C-c"] + "@\t")
    bob.shows(r" *@cyd +rank 2 *")
    bob.shows(r" *@least +least loaded *")
    assert "senior" not in bob.text
    bob.type(KEYS["C-c"] + KEYS["C-c"])
    assert len(os.listdir(f"/proc/{bob.process.pid}/task")) == 1  # all of that without a thread
    bob.type("/q\t")
    bob.prompts("rank 1 of 4 > /quit")
    bob.type("\r")
    assert bob.finish() == 0


def test_completion_of_names_that_are_no_target(at, below):
    """A rank may be another member's when the line is sent, a name stays; but it has to mean that member alone."""
    bob = at()
    for name in ("twin", "twin", "two words", "web-*", "dan"):
        below(lambda _: b"", name=name)
    bob.prompts("rank 0 of 6 > ")
    bob.type("@t\t")
    for offered in ("@1 +twin", "@2 +twin", "@3 +two words"):
        bob.shows(rf" *{offered} *")
    for typed, completed in (("@w", "@4"), ("@d", "@dan"), ("@5", "@5")):
        bob.type(KEYS["C-c"] + KEYS["C-c"] + typed + "\t")
        bob.prompts(f"rank 0 of 6 > {completed}")


def test_history(at, tmp_path):
    file = tmp_path / "rankmux" / "history"
    for mode in (None, 0o644):
        if mode is not None:
            file.chmod(mode)
        ada = at(RANKMUX_HISTORY=str(file))
        if mode is None:
            ada.type("one\r two\r@0 three\r")
            ada.shows("Refused, .*: three")
        else:
            ada.type(KEYS["Up"])
            ada.prompts("rank 0 of 1 > @0 three")
            ada.type(KEYS["Up"])
            ada.prompts("rank 0 of 1 > one")  # a line that begins with a space is not saved
            ada.type(KEYS["C-c"])
            ada.prompts("rank 0 of 1 > ")
            ada.type(KEYS["C-r"] + "thr")
            ada.at("@0 three")
            ada.type("\r\r")
            ada.shows("Refused, .*: three")
        ada.type(KEYS["C-d"])
        assert ada.finish() == 4
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_no_history_when_not_wanted(at, tmp_path):
    variables = {"XDG_STATE_HOME": str(tmp_path), "RANKMUX_HISTORY": str(tmp_path / "no")}
    ada = at("--no-history", **variables)
    ada.type("one\r")
    ada.shows("Refused, .*: one")
    ada.type(KEYS["Up"])
    ada.prompts("rank 0 of 1 > one")  # but lines typed in this run are in its history
    ada.type(KEYS["C-c"] + KEYS["C-d"])
    assert ada.finish() == 4
    assert list(tmp_path.iterdir()) == []


def test_colours_and_no_colour(senior, at):
    coloured = re.compile(rb"\x1b\[[\d;]*\b(3[0-7]|9[0-7]|38|4[0-7])\b[\d;]*m")
    for value, expected in (("", True), ("1", False)):
        bob = at(NO_COLOR=value)
        senior.command("print", quiet=True)
        bob.shows("From rank 0: print")
        bob.type(KEYS["C-d"])
        assert bob.finish() == 0
        assert bool(coloured.search(bob.raw)) is expected


def test_a_narrow_terminal_and_another_size(senior, at):
    bob = at(columns=20, rows=8)
    bob.prompts("1/2 > ")
    bob.type("a line that is wider than that")
    bob.until(lambda: "than that" in bob.text)
    senior.command("c" * 30, quiet=True)
    bob.until(lambda: "c" * 30 in bob.text.replace("\n", ""))
    bob.resize(100, 30)
    bob.prompts("rank 1 of 2 > a line that is wider than that")
    bob.type(KEYS["C-c"])
    bob.prompts("rank 1 of 2 > ")


def test_pasted_lines_are_commands(at, below):
    ada = at()
    got = []
    below(lambda command: got.append(command.payload))
    ada.prompts("rank 0 of 2 > ")
    lines = [f"command {number}" for number in range(200)]
    ada.type("\x1b[200~" + "\n".join(lines) + "\x1b[201~\r")
    ada.shows("1 ok: command 199")
    assert got == [line.encode() for line in lines]


def test_no_word_is_broken_at_40_columns(at, below):
    """Neither in the help nor in a list, a command or its results; what has no room in a list is named."""
    below(lambda _: b"an output that is so long that it takes more than a line", name="worker-of-a-long-name")
    bob = at(columns=40)
    below(
        lambda _: b"an output that is so long that it takes more than a line", name="another-of-a-long-name"
    )
    bob.prompts("rank 1 of 3 > ")
    bob.type("/help\r")
    bob.until(lambda: "searches" in bob.text)
    for words in ("for the member directly\n", "completes targets,\n"):
        assert words in bob.text
    bob.type("/who\r")
    bob.until(lambda: "too narrow" in bob.text)
    assert "another-of-a-long-name\n" in bob.text
    assert "TICKET" not in bob.text
    bob.type("a command which is longer than the terminal is wide\r")
    bob.until(lambda: "\n1 ok: a command which is longer than the\nterminal is wide\n" in bob.text)
    assert "is so long that it\ntakes more than a line\n" in bob.text
