from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from prometheus_client import parser

from rankmux.server.admin.metrics import Exposition
from rankmux.server.connections.closes import CloseReason
from rankmux.server.server import Server
from rankmux.wire import Cancel, Command, Hello, Keep, Result, Yield

from ...faults.certificates import Authority
from ...support.admin_client import get, join, turns_until, watched
from ...support.memory_log import cluster

RULES = Path(__file__).parents[3] / "deploy" / "alerts.yml"


def samples(text):
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, *sample.labels.values()] = sample.value
    return found


def test_counts_of_events():
    with watched(seats=3) as server:
        ada, bob, cyd = (join(server, name) for name in ("ada", "bob", "cyd"))
        for command in (
            Command(1, 0, 0, 1, 60_000, b"a"),  # seq 4, two executors
            Command(2, 1, 0, 0, 0, b"b"),  # not lower
            Command(3, 1, 7, 0, 0, b"c"),  # no such rank
            Command(4, 2, 0, 0, 0, b"d"),
        ):
            ada.sendall(command.encode())
        turns_until(server, lambda: server.stats.commands == 2)
        bob.sendall(Result(4, 0, b"").encode() + Result(99, 0, b"").encode())
        cyd.sendall(Result(4, 1, b"").encode())
        turns_until(server, lambda: server.stats.done == 1)
        cyd.close()
        turns_until(server, lambda: len(server.room) == 2)
        status, text = get(server, "/metrics")
        assert status == 200
        found = samples(text)
        expected = {
            ("rankmux_members",): 2,
            ("rankmux_seats",): 3,
            ("rankmux_joins_total",): 3,
            ("rankmux_accepted_total",): 3,
            ("rankmux_commands_total",): 2,
            ("rankmux_deliveries_total",): 3,
            ("rankmux_refusals_total", "not_lower"): 1,
            ("rankmux_refusals_total", "no_such_rank"): 1,
            ("rankmux_refusals_total", "busy"): 0,
            ("rankmux_results_total", "ok"): 1,
            ("rankmux_results_total", "failed"): 1,
            ("rankmux_results_total", "expired"): 0,
            ("rankmux_dropped_results_total",): 1,
            ("rankmux_commands_done_total",): 1,
            ("rankmux_commands_waiting",): 0,
            ("rankmux_queued_bytes",): 0,
            ("rankmux_ready",): 1,
            ("rankmux_draining",): 0,
        }
        assert {key: found[key] for key in expected} == expected
        closes = {reason.value: found["rankmux_closes_total", reason.value] for reason in CloseReason}
        assert sum(closes.values()) == 1
        assert found["rankmux_turn_seconds_count",] == found["rankmux_turn_seconds_bucket", "+Inf"] > 0
        assert found["process_open_fds",] > 3
        for sock in (ada, bob):
            sock.close()


def test_absent_members_observers_and_returns():
    with watched(seats=3) as server:
        keep, opened = Keep(60_000, 0, b"s" * 16), []

        def say(hello: Hello) -> socket.socket:
            opened.append(socket.create_connection(server.address))
            opened[-1].sendall(hello.encode())
            return opened[-1]

        stats, connections = server.stats, server.connections
        lost = say(Hello("ada", keep=keep))
        turns_until(server, lambda: stats.joins == 1)
        lost.close()
        turns_until(server, lambda: server.room.line.kept.absent)
        say(Hello("", flags=1))  # OBSERVE
        say(Hello("", flags=3))  # and WATCH
        say(Hello("bob", flags=2))
        turns_until(server, lambda: len(connections.observers) == 2 and stats.joins == 2)
        found = samples(get(server, "/metrics")[1])
        names = ("members", "members_absent", "observers", "watchers", "returns_total", "takeovers_total")
        assert [found[f"rankmux_{name}",] for name in names] == [2, 1, 2, 2, 0, 0]
        say(Hello("ada", keep=keep))
        turns_until(server, lambda: stats.returns == 1)
        ada = say(Hello("ada", keep=keep))
        turns_until(server, lambda: stats.returns == 2)
        ada.sendall(Command(1, 0, 0, 1, 60_000, b"").encode() + Cancel(1).encode() + Yield(1).encode())
        turns_until(server, lambda: stats.yields)
        turns_until(server, lambda: connections.closes.counts.total() == 2)
        server._endpoint._routes._kept.clear()  # else the answer is that of a moment ago
        found = samples(get(server, "/metrics")[1])
        names += ("yields_total", "joins_total")
        assert [found[f"rankmux_{name}",] for name in names] == [2, 0, 2, 2, 2, 1, 1, 2]
        assert found["rankmux_results_total", "cancelled"] == 1
        for sock in opened:
            sock.close()


def promtool(*arguments: str, text: str = "") -> tuple[int, str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool here (Debian: apt install prometheus)")
    done = subprocess.run(
        [program, "check", *arguments], input=text, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_promtool_accepts_the_metrics():
    with watched() as server:
        _, text = get(server, "/metrics")
    assert promtool("metrics", text=text) == (0, "")


def test_promtool_accepts_the_rules():
    code, said = promtool("rules", str(RULES))
    assert code == 0, said
    assert re.search(r"SUCCESS: \d+ rules found", said)


def test_promtool_accepts_the_configuration():
    code, said = promtool("config", str(RULES.parent / "prometheus.yml"))
    assert code == 0, said
    assert "alerts.yml" in said


def test_each_alert_has_a_severity_and_an_explanation():
    """Alertmanager routes by severity; docs/howto-monitoring.md lists the actions."""
    rules = RULES.read_text().split("- alert: ")[1:]
    assert [len(re.findall("severity: (?:critical|warning)$", rule, re.MULTILINE)) for rule in rules] == [
        1
    ] * len(rules)
    page = (RULES.parent.parent / "docs" / "howto-monitoring.md").read_text()
    assert re.findall(r"^\| (Rankmux\w+) ", page, re.MULTILINE) == [rule.split()[0] for rule in rules]


def test_a_cluster_has_metrics_of_its_own():
    with cluster(2) as made:
        a = made.join(0, "a")
        made.logs[0].stalled = True
        a.send(Command(1, 0, 0, 0, 0, b"waits"))
        made.turn()
        made.now += 3
        found = samples(Exposition(made.servers[0]._status).text().decode())
        log_seq = made.servers[0].log_seq
        assert {
            name: value for (name, *_), value in found.items() if "rankmux_cluster" in name and len(_) == 0
        } == {
            "rankmux_cluster_servers": 2,
            "rankmux_cluster_log_seq": log_seq,
            "rankmux_cluster_behind": 0,
            "rankmux_cluster_under_way": 1,
            "rankmux_cluster_waiting_seconds": 3,
            "rankmux_cluster_read_back_seconds": 0,
            "rankmux_cluster_resent_total": 0,
            "rankmux_cluster_window_full_total": 0,
            "rankmux_cluster_fences_total": 0,
            "rankmux_cluster_courier_restarts_total": 0,
            "rankmux_cluster_snapshot_seq": 0,
        }
        assert found["rankmux_cluster_entries_total", "taken"] == log_seq
        assert found["rankmux_cluster_entries_total", "gap"] == 0


def test_a_cluster_counts_what_the_log_makes_difficult():
    with cluster(1) as made:
        a = made.join(0, "a")
        made.servers[0]._sequencer._window._bytes_max = 1
        before = samples(Exposition(made.servers[0]._status).text().decode())
        made.logs[0].stalled = True
        a.send(Command(1, 0, 0, 0, 0, b"waits"))
        while made.servers[0]._sequencer.takes_input:
            made.turn(1)
        made.turn(4)
        made.now += 0.75
        made.turn(1)
        made.logs[0].reopen()  # another connection to the log
        made.turn(1)
        made.logs[0].go_on()
        made.turn()
        found = [samples(Exposition(made.servers[0]._status).text().decode()) for _ in range(2)]
    names = ("window_full_total", "resent_total", "read_back_seconds")
    first, second = ([one[f"rankmux_cluster_{name}",] for name in names] for one in found)
    assert [before[f"rankmux_cluster_{name}",] for name in names] == [0, 0, 0]
    assert first == [7, 2, 0.75]
    assert second == [7, 2, 0]
    assert found[0]["rankmux_cluster_entries_total", "double"] == 2


def test_alert_rules_name_metrics_that_exist(tmp_path):
    """The rules of deploy/alerts.yml against the metrics."""
    certificate = Authority(tmp_path, "authority").issue("localhost")
    with watched() as server:
        names = {key[0] for key in samples(get(server, "/metrics")[1])}
    with cluster(1) as made:
        names |= {key[0] for key in samples(Exposition(made.servers[0]._status).text().decode())}
    with Server(port=0, seats=2, tls_cert=str(certificate)) as server:
        names |= {key[0] for key in samples(Exposition(server._status).text().decode())}
    assert set(re.findall(r"\brankmux_\w+", RULES.read_text())) - names == set()


def test_the_dashboard_asks_for_metrics_that_exist(tmp_path):
    """deploy/grafana.json: each name is a metric, each query parses, and no metric of the server is forgotten."""
    with watched() as server:
        text = get(server, "/metrics")[1]
    with cluster(1) as made:
        text += Exposition(made.servers[0]._status).text().decode()
    names = {key[0] for key in samples(text)}
    board = json.loads((RULES.parent / "grafana.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    shown = set(re.findall(r"\b(?:rankmux|process)_\w+", " ".join(asked)))
    assert shown - names == set()
    families = {
        re.sub("_(?:bucket|sum|count|created)$", "", name) for name in names if name.startswith("rankmux_")
    }
    forgotten = families - {re.sub("_(?:bucket|sum)$", "", name) for name in shown}
    assert forgotten == {
        "rankmux_build_info",
        "rankmux_cluster_log_seq",
        "rankmux_cluster_snapshot_seq",
        "rankmux_undelivered_bytes_total",
    }
    assert set(re.findall(r"\brankmux_\w+", json.dumps(board["templating"]))) - names == set()
    # As a rules file, with Grafana's variables replaced by what they stand for.
    rules = [
        {"record": f"a:{at}", "expr": expr.replace("$__rate_interval", "1m")} for at, expr in enumerate(asked)
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    code, said = promtool("rules", str(file))
    assert code == 0, said


def test_the_panels_of_the_dashboard_do_not_overlap():
    board = json.loads((RULES.parent / "grafana.json").read_text())
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in board["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert {x for x, _ in taken} == set(range(24))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_results_are_counted_for_metrics_alone():
    with watched(admin="", metrics="0") as server:
        ada, bob = join(server, "ada"), join(server, "bob")
        ada.sendall(Command(1, 0, 0, 1, 60_000, b"").encode())
        turns_until(server, lambda: server.stats.commands)
        bob.sendall(Result(3, 0, b"").encode())
        turns_until(server, lambda: server.stats.done)
        assert samples(get(server, "/metrics")[1])["rankmux_results_total", "ok"] == 1
        for sock in (ada, bob):
            sock.close()
