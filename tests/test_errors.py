"""The exception tree: its drawing, facts as attributes, and texts."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from rankmux import errors

TEXTS = {
    errors.ConfigError("--seats", 0, "expected a whole number of at least 1"): (
        "--seats is 0: expected a whole number of at least 1"
    ),
    errors.UnknownSetting(
        "seat", 5, 'did you mean "seats"?'
    ): 'unknown setting "seat"; did you mean "seats"?',
    errors.UnknownSetting(
        "seat", 5, 'did you mean "seats"?', where=" in rankmux.toml"
    ): 'unknown setting "seat" in rankmux.toml; did you mean "seats"?',
    errors.ConfigError("insecure", False, "expected true"): "insecure is false: expected true",
    errors.ConfigErrors(
        [errors.ConfigError("seats", 0, "expected 1"), errors.UnknownSetting("x", 1, "look")]
    ): 'seats is 0: expected 1\nunknown setting "x"; look',
    errors.CannotListen("host", "x:7117", "name not known"): "cannot listen on x:7117: name not known",
    errors.AddressInUse("admin", "127.0.0.1:7118"): (
        "127.0.0.1:7118 is already in use, perhaps by another rankmux-server; stop what listens there, "
        "or choose another port"
    ),
    errors.UnknownSetting(
        "--seat", 5, 'did you mean "--seats"?', "flag"
    ): 'unknown flag "--seat"; did you mean "--seats"?',
    errors.ArgumentError("to", "up", "expected all, next, least or a rank"): (
        "to is 'up': expected all, next, least or a rank"
    ),
    errors.ArgumentError("name", "x" * 1000, "expected less"): (
        f"name is '{'x' * 99}… (1002 characters): expected less"
    ),
    errors.PayloadTooBig(70_000, 65_536): (
        "the payload has 70000 bytes, the server allows 65536; send less, or raise the server's --max-payload"
    ),
    errors.PayloadTooBig(70_000, 65_536, 80): (
        "the payload and the tickets of 10 members have 70000 bytes, the server allows 65536; "
        "split the list into several commands, or raise the server's --max-payload"
    ),
    errors.SnapshotError("its checksum is wrong"): "not a whole snapshot: its checksum is wrong",
    errors.StateError("taking a seat", "ended"): "taking a seat is not possible while ended",
    errors.ProtocolViolation(1, "a frame's length is 0"): "a frame's length is 0",
    errors.ServerError(5, "no seat is free"): "the server ended the connection: no seat is free (code 5)",
    errors.AuthError(4, "wrong token"): (
        "the server ended the connection: wrong token (code 4); "
        "pass one of the server's as token, without the line break of its file"
    ),
    errors.AuthError(4, "this name in the client certificate may not join: x"): (
        "the server ended the connection: this name in the client certificate may not join: x (code 4); "
        "load one with a name that the server's tls_client_names allow into ssl_context"
    ),
    errors.FullError(5, "no seat"): "the server ended the connection: no seat (code 5)",
    errors.CommandRefused(7, 2, "rank 0 is not below you"): (
        "the command was refused: rank 0 is not below you (code 2)"
    ),
    errors.LogBroken("entry 7 of the log is damaged"): "entry 7 of the log is damaged",
    errors.ConnectionLost("the server closed it"): "the connection was lost: the server closed it",
    errors.CannotConnect("name not known"): "name not known",
    errors.CannotConnect("the server speaks TLS", "tls"): "the server speaks TLS: pass an ssl_context",
    errors.ResultsLost("the server closed it"): "the results were lost: the server closed it",
}
MADE = list(TEXTS)
CLASSES = {name: getattr(errors, name) for name in errors.__all__}


def drawn_tree() -> dict[str, str]:
    """Child to parent, as drawn in the module's docstring."""
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
        assert [repr(getattr(twin, fact)) for fact in facts] == [repr(getattr(error, fact)) for fact in facts]
        assert str(twin) == str(error)


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_the_text(error):
    assert str(error) == TEXTS[error]


def test_an_argument_error_is_a_value_error():
    assert issubclass(errors.ArgumentError, ValueError)


def test_a_changed_fact_changes_the_text():
    error = errors.StateError("taking a seat", "ended")
    error.state = "a member"
    assert "a member" in str(error)
