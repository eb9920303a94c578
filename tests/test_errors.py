"""The exception tree: who is under whom, facts as attributes, texts that help."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from rankmux import errors

MADE = [
    errors.ConfigError("--seats", 0, "a whole number of at least 1 is expected"),
    errors.AddressInUse("admin", "127.0.0.1:7118", "an address that is free is expected"),
    errors.ArgumentError("to", "up", "one of all, next, least or a rank is expected"),
    errors.PayloadTooBig(70_000, 65_536),
    errors.StateError("taking a seat", "ended"),
    errors.ProtocolViolation(1, "a frame's length is 0"),
    errors.ServerError(5, "no seat is free"),
    errors.AuthError(4, "the token is not the right one"),
    errors.CommandRefused(7, 2, "rank 0 is not below you"),
    errors.ConnectionLost("the server closed it"),
]
CLASSES = {name: getattr(errors, name) for name in errors.__all__}


def drawn_tree() -> dict[str, str]:
    """Child to parent, as the module's docstring draws it."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^( {4}[ │├└─]*)([A-Z]\w+)", line)
        if found:
            depth = len(found[1])
            above = [(d, name) for d, name in above if d < depth]
            if above:
                parents[found[2]] = above[-1][1]
            above.append((depth, found[2]))
    return parents


def test_the_drawn_tree_is_the_real_one():
    real = {
        name: cls.__bases__[0].__name__ for name, cls in CLASSES.items() if cls.__bases__[0] is not Exception
    }
    assert drawn_tree() == real
    assert len(real) == len(CLASSES) - 1


def test_every_leaf_is_tried_here():
    leaves = {name for name, cls in CLASSES.items() if cls.__init__ is not Exception.__init__}
    assert {type(error).__name__ for error in MADE} == leaves - {"RankmuxError", "LocalError", "RemoteError"}


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_facts_are_attributes_and_survive_copying(error):
    facts = list(inspect.signature(type(error).__init__).parameters)[1:]
    assert facts
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert [getattr(twin, fact) for fact in facts] == [getattr(error, fact) for fact in facts]
        assert str(twin) == str(error)


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_the_text_names_the_facts(error):
    for fact in vars(error).values():
        assert str(fact) in str(error) or isinstance(fact, int)
    assert "\n" not in str(error)


def test_an_argument_error_is_a_value_error():
    assert issubclass(errors.ArgumentError, ValueError)


def test_a_changed_fact_changes_the_text():
    error = errors.StateError("taking a seat", "ended")
    error.state = "a member"
    assert "a member" in str(error)
