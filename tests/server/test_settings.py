"""The typed settings against the settings themselves."""

from __future__ import annotations

import inspect
from typing import Literal, Unpack, get_type_hints

import pytest

from rankmux import Server, ServerSettings
from rankmux.config import settings
from rankmux.errors import UnknownSetting


def test_they_are_the_settings():
    expected = {
        setting.name: Literal[setting.choices] if setting.choices else setting.kind for setting in settings()
    }
    assert list(get_type_hints(ServerSettings).items()) == list(expected.items())
    assert ServerSettings.__required_keys__ == frozenset()


def test_a_server_takes_them_and_no_parameter_of_its_has_such_a_name():
    assert get_type_hints(Server.__init__)["settings"] == Unpack[ServerSettings]
    assert inspect.signature(Server).parameters.keys() & ServerSettings.__annotations__.keys() == set()


def test_a_setting_that_does_not_exist():
    with pytest.raises(UnknownSetting, match='unknown setting "seat"; did you mean "seats"'):
        Server(port=0, seat=3)
    with pytest.raises(UnknownSetting, match="--print-config lists all"):
        Server(port=0, xyzzy=3)
