from __future__ import annotations

import json
import logging
import os

import pytest

from rankmux.jsonlines import LINE_MAX_BYTES, JsonFormatter, tagged
from rankmux.logpipe import PipeHandler
from rankmux.wire import Command, Leave

from .admin_client import join, turns_until, watched


def record(text="text", *args, **more):
    return logging.makeLogRecord({"msg": text, "args": args, "levelname": "INFO", "created": 0.25, **more})


def test_a_line_is_one_object():
    line = JsonFormatter().format(record("a %s\n", "b\n", **tagged("joined", name="dörte\n", rank=3)))
    assert "\n" not in line
    assert json.loads(line) == {
        "at": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "event": "joined",
        "text": "a b\n\n",
        "name": "dörte\n",
        "rank": 3,
    }


def test_what_is_not_tagged_is_a_message():
    assert json.loads(JsonFormatter().format(record()))["event"] == "message"


@pytest.mark.parametrize(
    "facts", [{"payload": "x" * 70_000}, {"payload": "\x00" * 9000, "name": "ü" * 9000}, {"many": [1] * 9000}]
)
def test_a_long_line_is_cut_and_still_an_object(facts):
    line = JsonFormatter().format(record(**tagged("command", **facts)))
    assert len(line) <= LINE_MAX_BYTES
    assert json.loads(line)["event"] == "command"


def test_a_traceback_is_part_of_its_line():
    try:
        raise ValueError("why")
    except ValueError as error:
        line = JsonFormatter().format(record(exc_info=(ValueError, error, error.__traceback__)))
    assert "ValueError: why" in json.loads(line)["traceback"]


def test_dropped_lines_are_told_in_the_same_form():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handler = PipeHandler(writer)
    handler.setFormatter(JsonFormatter())
    handler.dropped = 3
    handler.emit(record(**tagged("joined")))
    lines = [json.loads(line) for line in os.read(reader, 65_536).splitlines()]
    assert [(line["event"], line.get("count")) for line in lines] == [("lines_dropped", 3), ("joined", None)]
    os.close(reader)
    os.close(writer)


def test_the_names_of_what_happens(caplog):
    """These are what machines look for: to change one is to break somebody's alarm."""
    caplog.set_level(logging.INFO, logger="rankmux")
    with watched(seats=2) as server:
        ada, bob = join(server, "ada"), join(server, "bob")
        ada.sendall(Command(1, 0, 0, 0, 0, b"go\n").encode())
        bob.sendall(Command(1, 0, 0, 0, 0, b"no").encode())
        turns_until(server, lambda: server.stats.commands and server.stats.refused)
        ada.sendall(Leave().encode())
        turns_until(server, lambda: len(server.room) == 1)
        server.reload()
        server.step(0)
        bob.sendall(b"\0\0\0\0")
        turns_until(server, lambda: len(server.room) == 0)
        server.stop(0.0)
        turns_until(server, lambda: server.stopped)
        ada.close()
        bob.close()
    lines = [json.loads(JsonFormatter().format(one)) for one in caplog.records]
    facts = {line["event"]: line for line in lines}
    assert set(facts) == {"joined", "left", "ranking", "command", "refused", "reloaded", "summary", "stopped"}
    assert {"name", "rank", "ticket", "seq", "address"} <= set(facts["joined"])
    assert {"name", "rank", "ticket", "reason"} <= set(facts["left"])
    assert facts["refused"]["code"] == "no_target"
    command = facts["command"]
    assert (command["rank"], command["name"], command["target"], command["executors"]) == (0, "ada", "all", 1)
    assert command["payload"] == "go\\n"
    assert facts["summary"]["accepted"] == 2
