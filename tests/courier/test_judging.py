"""Checks of versions and streams: the refused ones, and the error texts."""

from __future__ import annotations

import pytest

from rankmux.courier.judging import _OFF, at_ms, has_quorum, is_too_old, stream_config, stream_faults, too_old
from rankmux.courier.settings import CourierSettings

SETTINGS = CourierSettings(("nats://a",), "main")
ON = {
    "allow_atomic": True,
    "allow_msg_counter": True,
    "allow_msg_schedules": True,
    "allow_msg_ttl": True,
    "allow_rollup_hdrs": True,
    "deny_purge": True,
    "discard_new_per_subject": True,
    "first_seq": 7,
    "mirror": {"name": "other"},
    "no_ack": True,
    "persist_mode": "async",
    "sealed": True,
    "sources": [{"name": "other"}],
    "subject_delete_marker_ttl": 1_000_000_000,
    "subject_transform": {"src": "rmx.main.log", "dest": "other"},
}
"""Everything that must be off, as NATS shows it when it is on."""


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.14.0", False),
        ("2.15.1", False),
        ("v2.14.0-RC.1", False),
        ("3.0.0", False),
        ("2.13.9", True),
        ("2.9.10", True),
        ("1.99.0", True),
        ("", True),
        ("new", True),
    ],
)
def test_versions(version, expected):
    assert is_too_old(version) is expected


def test_the_text_names_both_versions():
    assert too_old("2.9.10") == "NATS 2.9.10 is too old: 2.14 or newer is needed"


def test_our_own_stream_has_no_faults():
    config = stream_config(SETTINGS)
    assert stream_faults(config, SETTINGS, replicas=True) == ""
    assert (config["num_replicas"], config["max_bytes"], config["subjects"]) == (3, 1 << 30, ["rmx.main.log"])


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("discard", "old", "discard is old, expected new"),
        ("retention", "workqueue", "retention is workqueue, expected limits"),
        ("storage", "memory", "storage is memory, expected file"),
        ("max_age", 5, "max_age is 5, expected 0"),
        ("max_msgs", 9, "max_msgs is 9, expected -1"),
        ("max_msgs_per_subject", 1, "max_msgs_per_subject is 1, expected -1"),
        ("deny_delete", False, "deny_delete is off, expected on"),
        ("subjects", ["a", "b"], "subjects is a, b, expected rmx.main.log"),
        ("allow_rollup_hdrs", True, "allow_rollup_hdrs is on, expected none"),
        ("allow_msg_ttl", True, "allow_msg_ttl is on, expected none"),
        ("persist_mode", "async", "persist_mode is async, expected none"),
        ("first_seq", 7, "first_seq is 7, expected none"),
        ("num_replicas", 1, "num_replicas is 1, expected 3 by cluster_replicas"),
        ("max_msg_size", 1000, "max_msg_size is 1000, expected -1"),
        ("max_consumers", 1, "max_consumers is 1, expected -1"),
    ],
)
def test_each_difference_is_reported_with_both_values(key, value, expected):
    text = stream_faults(stream_config(SETTINGS) | {key: value}, SETTINGS, replicas=True)
    assert expected in text
    assert "nats stream edit RM_main" in text


@pytest.mark.parametrize("key", sorted({*ON, *_OFF}))
def test_what_must_be_off_is_refused_when_it_is_on(key):
    text = stream_faults(stream_config(SETTINGS) | {key: ON[key]}, SETTINGS, replicas=True)
    assert f"{key} is " in text
    assert text.count("expected") == 1


def test_an_operator_may_change_the_size_and_later_the_copies():
    config = stream_config(SETTINGS) | {"max_bytes": 5, "num_replicas": 5, "persist_mode": "default"}
    assert stream_faults(config, SETTINGS, replicas=False) == ""


@pytest.mark.parametrize(
    ("followers", "expected"),
    [
        (None, True),
        ([{"active": 10**8}, {"active": 10**10}], True),
        ([{"active": 10**10}, {"active": 10**10}], False),
        ([{"active": 10**8, "offline": True}, {"active": 10**10}], False),
        ([{"active": 10**8}, {"active": 0}, {"active": 10**10}, {"active": 10**10}], True),
    ],
)
def test_a_leader_that_has_lost_its_followers(followers, expected):
    assert has_quorum({"cluster": {"leader": "a", "replicas": followers}}) is expected


def test_a_server_without_a_cluster_has_a_quorum():
    assert has_quorum({})
    assert has_quorum({"cluster": {"leader": "n0"}})


def test_a_stream_without_a_leader_has_none():
    assert not has_quorum({"cluster": {"replicas": [{"active": 10**8}] * 3}})


def test_all_differences_at_once():
    text = stream_faults({}, SETTINGS, replicas=True)
    assert text.count("expected") == 11
    assert "subjects is none" in text


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"ts": "1970-01-01T00:00:01.500999999Z"}, 1500),
        ({"ts": "2026-01-01T00:00:00Z"}, 1_767_225_600_000),
        ({}, 0),
    ],
)
def test_the_time_by_the_clock_of_nats(info, expected):
    assert at_ms(info) == expected
