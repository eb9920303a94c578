from __future__ import annotations

import ast
import json
import logging
import os
import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

import rankmux
from rankmux.system.json_lines import LINE_MAX_BYTES, JsonFormatter, TextFormatter, tagged
from rankmux.system.log_pipe import PipeHandler
from rankmux.wire import Command, Leave

from ..support.admin_client import join, turns_until, watched


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


def test_an_untagged_line_is_a_message():
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


def test_dropped_lines_are_reported_in_the_same_form():
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


def test_the_names_of_events(caplog):
    """Machines look for these names: changing one breaks an alarm."""
    caplog.set_level(logging.INFO, logger="rankmux")
    with watched(seats=2, log_excerpt_bytes=128) as server:
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


PACKAGE = Path(rankmux.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "logs.md"


def tags(tree: ast.AST) -> list[tuple[str, str]]:
    """Each call of `tagged` with the names of its facts; "..." stands for names known only at run time."""
    return [
        (ast.literal_eval(node.args[0]), " ".join(sorted(keyword.arg or "..." for keyword in node.keywords)))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "tagged"
    ]


def untagged(tree: ast.Module) -> list[str]:
    """Calls of a logger without a tag: neither `extra=tagged(...)` nor a name assigned from `tagged` above."""
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        named = {
            ast.unparse(node.targets[0])
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("tagged(")
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and re.match(
                r"(log|logging\.getLogger\(.*\))\.(debug|info|warning|error|exception|critical|log)$",
                ast.unparse(node.func),
            ):
                extra = {ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "extra"}
                if not extra & named and not any(text.startswith("tagged(") for text in extra):
                    found.append(f"line {node.lineno}: {ast.unparse(node)[:60]}")
    return found


def server_modules() -> set[Path]:
    """The modules of a server process: the imports of `rankmux.cli.serving` and of the admin endpoint, transitively."""
    script = (
        "import sys, rankmux.cli.serving, rankmux.server.admin.endpoint; print(*(module.__file__ for name, module in "
        "sys.modules.items() if name.startswith('rankmux') and module.__file__.endswith('.py')), sep='\\n')"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return {Path(line) for line in out.splitlines()}


def test_every_event_of_the_server_has_a_name_that_is_documented():
    """The table in docs/logs.md lists exactly the events and their facts."""
    modules = server_modules()
    assert {PACKAGE / "server" / "event_log.py", PACKAGE / "server" / "sockets" / "listener.py"} < modules
    trees = {path: ast.parse(path.read_text()) for path in modules}
    assert {name: lines for name, tree in trees.items() if (lines := untagged(tree))} == {}
    if not PAGE.exists():
        pytest.skip("docs/ is not part of what is tested here")
    rows = re.findall(r"^\| `(\w+)` \|.*\|.*\| (.*?) ?\|$", PAGE.read_text(), re.MULTILINE)
    listed = {
        (event, " ".join(sorted(re.findall(r"\w+|\.\.\.", re.sub(r"\([^)]*\)|`", " ", facts)))))
        for event, facts in rows
    }
    assert set().union(*(tags(tree) for tree in trees.values())) == listed
    assert len(rows) == len(listed)


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("UTC", "2026-01-31T09:30:00.250+00:00 INFO up"),
        ("Asia/Kolkata", "2026-01-31T15:00:00.250+05:30 INFO up"),
        ("America/New_York", "2026-01-31T04:30:00.250-05:00 INFO up"),
    ],
)
def test_text_has_the_time_with_its_zone(monkeypatch, zone, shown):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        record = logging.LogRecord("rankmux", logging.INFO, "", 0, "up", (), None)
        record.created = 1769851800.25
        assert TextFormatter("%(asctime)s %(levelname)s %(message)s").format(record) == shown
        assert datetime.fromisoformat(shown.split()[0]).timestamp() == record.created
    finally:
        monkeypatch.undo()
        time.tzset()


def test_text_from_elsewhere_is_one_line_without_effect_on_a_terminal():
    record = logging.LogRecord(
        "rankmux", logging.INFO, "", 0, "NATS: %s", ("\x1b]0;owned\x07\nINFO a\u2028é",), None
    )
    shown = TextFormatter("%(levelname)s %(message)s").format(record)
    assert shown == "INFO NATS: \\x1b]0;owned\\x07\\nINFO a\\u2028é"
