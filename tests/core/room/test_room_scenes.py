"""Scenes of turns, played by a room on each twin: scenes/*.txt hold the expected outcome.

`pytest tests/core/room/test_room_scenes.py --rewrite` writes the current outcome; read the difference.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rankmux.core.room import line, room

from ...support import room_turns, scenes

SCENES = sorted((Path(__file__).parent / "scenes").glob("*.txt"))


@pytest.fixture(autouse=True)
def _on_each_twin(framing, monkeypatch):
    """Modules that imported a definition of the default twin use that of `framing`."""
    for module in (line, room, room_turns):
        for name in vars(module).keys() & vars(framing).keys():
            if not name.startswith("_"):
                monkeypatch.setattr(module, name, getattr(framing, name))


@pytest.mark.parametrize("path", SCENES, ids=lambda path: path.stem)
def test_a_scene(path, request):
    written = path.read_text()
    came = scenes.played(written)
    if request.config.getoption("rewrite"):
        path.write_text(came)
    else:
        assert came == written


def test_lines_that_are_not_understood_are_errors():
    with pytest.raises(ValueError, match="not understood: dances"):
        scenes.played("room\n\nturn\nada joins\n\nturn\nada dances")
