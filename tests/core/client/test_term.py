"""A term of leadership, which ends once and for all."""

from __future__ import annotations

from rankmux.core.client.term import LedTerm


def test_it_is_over_once_and_for_ever():
    leads = True
    term = LedTerm(7, None, lambda: leads)
    assert not term.over
    assert "over" not in repr(term)
    leads = False
    assert term.over
    leads = True
    assert term.over
    assert "over" in repr(term)
