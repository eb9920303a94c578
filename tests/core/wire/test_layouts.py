"""The layouts: sizes as PROTOCOL section 2 lists them, and a whole frame's layout as that of its header and body."""

from __future__ import annotations

import pytest

from rankmux.core.wire import layouts

BODIES = {"WELCOME": 47, "EXECUTE": 17, "RANK": 17, "ACCEPTED": 20, "ROUTED": 17, "DONE": 24}


@pytest.mark.parametrize("name", BODIES)
def test_whole_frames(name):
    body, whole = getattr(layouts, name), getattr(layouts, f"{name}_FRAME")
    assert body.size == BODIES[name]
    assert whole.size == layouts.HEAD.size + body.size
    assert getattr(layouts, f"{name}_LENGTH") == whole.size - layouts.LENGTH_BYTES


def test_what_clients_send():
    assert (layouts.HELLO.size, layouts.COMMAND.size, layouts.RESULT.size, layouts.WHO.size) == (3, 14, 9, 12)
