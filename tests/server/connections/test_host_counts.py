"""Connections counted by host, against a plain dict."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rankmux.server.connections.host_counts import HostCounts

HOSTS = ("127.0.0.1", "[::1]", "unix")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.sampled_from(HOSTS))))
def test_the_counts_are_those_of_a_list(steps):
    counts, model = HostCounts(), {}
    for add, key, host in steps:
        if add and key not in model:
            model[key] = host
            assert counts.add(key, host) == Counter(model.values())[host]
        elif not add:
            model.pop(key, None)
            counts.discard(key)
        assert [counts[host] for host in HOSTS] == [Counter(model.values())[host] for host in HOSTS]
    counts.clear()
    assert [counts[host] for host in HOSTS] == [0, 0, 0]
