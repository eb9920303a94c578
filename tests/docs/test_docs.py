"""The shell blocks of the documentation: they run, and print the output shown on the pages."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress

import pytest

import rankmux

from ..support.script import PATIENCE_S
from .pages import ROOT, Desk, blocks, patterns
from .test_python_page import FRAGMENTS

EXAMPLES = {block.section: block.text for block in blocks(ROOT / "docs" / "cli.md") if block.language == "sh"}
SHOWS = {
    "At a terminal": "Refused, nobody is below you: print",
    "Held seats": "1 worker: done: reload",
    "send": "refused, or rejected",
    "wait": r"leading with ticket \d+\n(?s:.*)leading with ticket \d+",
    "who": "RANK  TICKET",
}
GUIDES = [
    *sorted((ROOT / "docs").glob("howto-*.md")),
    *(ROOT / "docs" / name for name in ("operations.md", "python.md")),
    ROOT / "README.md",
]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("*/README.md")])
ELSEWHERE = {"cli.md": "each block by itself", "tutorial.md": "test_tutorial"}


def run_shell(desk: Desk, script: str) -> str:
    """The output of `script`, which must exit with 0."""
    process = subprocess.Popen(
        ["bash", "-eu", "-c", desk.moved(script)],
        cwd=desk.directory,
        env=desk.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=2 * PATIENCE_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, out
    return out


@pytest.mark.parametrize("section", EXAMPLES)
def test_examples(scene, tmp_path, section):
    out = run_shell(Desk(tmp_path, scene.port), EXAMPLES[section])
    assert re.search(SHOWS.get(section, ""), out), out


def test_there_are_examples():
    assert SHOWS.keys() <= EXAMPLES.keys()


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_guides(scene, tmp_path, page):
    """All shell blocks of a page, one after the other in one shell; what it "Shows" must come in that order.

    For those that start no server, one listens on the default port.
    """
    script, shown, files = "", [], {}
    for block in blocks(page):
        if block.language == "sh":
            script += block.text
        elif block.title == "Shows":
            shown.append(block.text)
        elif "." in block.title:
            files[block.title] = block.text
    assert script, "it has no shell blocks: it does not belong into GUIDES"
    desk = Desk(tmp_path, None if "rankmux-server" in script else scene.port)
    for name, text in files.items():
        (desk.directory / name).write_text(desk.moved(text))
    rest = out = run_shell(desk, script)
    for text in shown:
        found = [pattern.search(rest) for pattern in patterns(desk.moved(text))]
        assert all(found), f"{text}does not come in:\n{out}"
        rest = rest[max(match.end() for match in found if match) :]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_program_in_the_background_writes_to_a_file_of_another(page):
    """Its shell empties the file a moment after `&`: a reader may still find a line of the other program."""
    script = "".join(block.text for block in blocks(page) if block.language == "sh").replace("\\\n", " ")
    commands = re.findall(r"^.*[^&]&$", script, re.MULTILINE)
    files = [file for command in commands for file in re.findall(r"[^>]> *([\w.-][\w./-]*)", command)]
    assert len(files) == len(set(files)), files


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_is_run(page):
    """It is a file that another block of its page starts, or is marked as a fragment, for test_python_page."""
    found = [block for block in blocks(page) if block.language == "sh" or block.language.startswith("py")]
    for block in found:
        if block.language == "sh":
            continue
        assert block.language == "python"
        if page.name == "python.md" and block.title.startswith("Fragment"):
            assert f"{block.section}: {block.title}" in FRAGMENTS
        else:
            assert block.title.endswith(".py"), f"not marked as a file: {block}"
            assert f"`{block.title}`" in page.read_text(), "titles are seen on the site alone"
            others = "".join(other.text for other in found if other is not block)
            assert re.search(rf"(?<=[ \"/]){re.escape(block.title)}\b", others), f"not run: {block}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_is_overlooked(page):
    """Its first line is one that `blocks` understands."""
    begun = re.findall(r"^[ >]*(?:```|~~~)+ *\{?\.?(?:sh|bash|shell|py\w*)\b", page.read_text(), re.MULTILINE)
    seen = [block for block in blocks(page) if re.match("sh|bash|py", block.language)]
    assert len(seen) == len(begun)


def test_every_shell_block_is_run():
    """Unless it is marked as something other than `sh`."""
    with_shell = {
        page for page in PAGES if any(block.language in {"sh", "bash", "shell"} for block in blocks(page))
    }
    assert {page.name for page in with_shell - set(GUIDES)} == ELSEWHERE.keys()


def test_every_page_has_its_place_in_the_site():
    """And every entry exists; Zensical reports neither."""
    places = re.findall(r'= "([\w-]+\.md)" \}', (ROOT / "zensical.toml").read_text())
    assert sorted(places) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


def test_every_recipe_is_in_the_cookbook():
    links = re.findall(r"\((howto-[\w-]+\.md)\)", (ROOT / "docs" / "cookbook.md").read_text())
    assert sorted(links) == sorted(page.name for page in (ROOT / "docs").glob("howto-*.md"))


def test_nothing_is_said_to_be_on_an_index():
    """No page, program or unit installs rankmux by its name, as there is no release yet; docs/releasing.md."""
    places = [
        *PAGES,
        *(ROOT / "rankmux").rglob("*.py"),
        *(ROOT / "deploy").glob("*.*"),
        *ROOT.glob("*/README.md"),
    ]
    installs = r"\b(?:pipx? install|pipx run|uv (?:pip|add|tool)|uvx)\b[^\n`]*?[ '\"](rankmux(?:\[|\b(?!-|\.))[^\n`]*)"
    for place in places:
        text = place.read_text().replace("in a clone of rankmux", "")
        assert re.findall(installs, text) == [], place


def test_the_site_has_the_version():
    assert f'copyright = "rankmux {rankmux.__version__}"' in (ROOT / "zensical.toml").read_text()
