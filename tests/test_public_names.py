"""The names that users import: their modules, the time of the import, and both clients."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rankmux
import rankmux.aio


def loaded_by(code: str) -> set[str]:
    """The modules that are loaded once a new interpreter has run `code`."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True, timeout=60
    )
    return set(done.stdout.split())


def test_every_name_is_there_and_shown():
    assert {name for name in rankmux.__all__ if not hasattr(rankmux, name)} == set()
    assert set(rankmux.__all__) <= set(dir(rankmux))


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        rankmux.Clinet  # noqa: B018
    with pytest.raises(ImportError):
        from rankmux import Clinet  # noqa: F401


def test_both_clients_come_with_the_same_names():
    missing = set(rankmux.__all__) - set(rankmux.aio.__all__)
    servers = {"Server", "ServerSettings"}
    assert missing == servers | {"RankmuxError", "__version__", "aio", "codes", "errors", "wire"}


def test_names_are_imported_on_first_use():
    idle = loaded_by("pass")
    first = loaded_by("import rankmux") - idle
    assert {name for name in first if name.startswith("rankmux")} == {"rankmux"}
    errors = loaded_by("from rankmux import errors") - idle
    assert {name for name in errors if name.startswith("rankmux")} == {"rankmux", "rankmux.errors"}


def test_a_client_loads_neither_the_other_nor_a_server():
    aio = loaded_by("import rankmux.aio")
    assert aio & {"rankmux.client.client", "rankmux.client.engine"} == set()
    blocking = loaded_by("from rankmux import Client")
    assert "rankmux.server.server" not in aio | blocking
