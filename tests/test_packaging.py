"""The contents of an installation: one version everywhere, commands that start, types for its users."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re

import pytest

import rankmux

DISTRIBUTION = importlib.metadata.distribution("rankmux")
SCRIPTS = DISTRIBUTION.entry_points.select(group="console_scripts")


def test_the_version_is_stated_once():
    assert DISTRIBUTION.version == rankmux.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|(a|b|rc)\d+)?", rankmux.__version__)


def test_the_commands_are_these():
    assert {script.name for script in SCRIPTS} == {"rankmux-server", "rankmux-client", "rankmux-top"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_command_can_be_loaded(script):
    assert callable(script.load())


def test_the_core_requires_nothing():
    unconditional = [line for line in DISTRIBUTION.requires or [] if "extra ==" not in line]
    assert unconditional == []


@pytest.mark.parametrize(
    "name",
    ["py.typed", "_framing.pyx", "core/room/batch.pxi", "server/kernel/uring.h", "server/admin/page.html"],
)
def test_files_that_are_not_modules_come_along(name):
    assert importlib.resources.files("rankmux").joinpath(name).is_file()
