"""The settings that cannot change while a server runs, against all settings and the rules of a cluster."""

from __future__ import annotations

from rankmux.config import Config, settings
from rankmux.errors import ConfigError
from rankmux.server.fixed_settings import FIXED, SHARED
from rankmux.server.server import _rules

NAMES = {setting.name for setting in settings()}


def test_all_names_are_settings() -> None:
    assert FIXED.keys() <= NAMES
    assert SHARED <= NAMES


def test_shared_are_those_that_the_rules_of_a_room_depend_on() -> None:
    """Every setting is moved a little; a rule that moves with it makes it a shared one."""
    before = _rules(Config())
    moved = set()
    for setting in settings():
        if isinstance(setting.default, int | float) and not isinstance(setting.default, bool):
            value = max(1, setting.default * 15 // 16) if setting.default else 1
            try:
                config = Config(**{setting.name: value})
            except ConfigError:
                continue
            if _rules(config) != before:
                moved.add(setting.name)
    assert moved == SHARED
