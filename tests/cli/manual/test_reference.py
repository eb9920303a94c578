"""The generated reference pages: up to date and complete."""

from __future__ import annotations

import pytest

from rankmux.cli.manual.reference import PAGES, main
from rankmux.cli.manual.settings import WHY
from rankmux.codes import Cause, ErrorCode, RefusedCode, Status
from rankmux.config import settings

from ...docs.pages import ROOT


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name):
    made = "\n".join(PAGES[name]()) + "\n"
    assert (ROOT / "docs" / name).read_text() == made, "python -m rankmux.cli.manual.reference docs"


def test_every_setting_has_its_place_once():
    told = [name for names in WHY.values() for name in names]
    assert sorted(told) == sorted(setting.name for setting in settings())


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.name)
def test_a_setting_is_listed_with_all_its_names(setting):
    page = "\n".join(PAGES["settings.md"]())
    section = page.partition(f"### {setting.name}\n")[2].partition("\n#")[0]
    for fact in (setting.flag, setting.variable, setting.help[1:]):
        assert fact in section
    for bound in (setting.low, setting.high):
        assert bound is None or f"{bound:,}" in section or str(bound) in section


@pytest.mark.parametrize("numbers", [Status, Cause, RefusedCode, ErrorCode])
def test_the_page_about_python_has_all_numbers(numbers):
    page = (ROOT / "docs" / "python.md").read_text()
    assert f"| `{numbers.__name__}` |" in page
    assert f"| {', '.join(f'{number.name} {number.value}' for number in numbers)} |" in page


def test_it_writes_them(tmp_path):
    assert main([str(tmp_path)]) == 0
    assert {page.name for page in tmp_path.iterdir()} == PAGES.keys()


@pytest.mark.parametrize("arguments", [[], ["/nowhere/at/all"], ["docs", "docs"]])
def test_usage(arguments):
    assert main(arguments) == 2
