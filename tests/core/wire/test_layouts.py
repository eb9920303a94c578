"""The layouts: sizes as PROTOCOL section 2 lists them, and a whole frame's layout as that of its header and body."""

from __future__ import annotations

import pytest

from rankmux.core.wire import layouts

BODIES = {"WELCOME": 47, "EXECUTE": 17, "RANK": 17, "ACCEPTED": 24, "ROUTED": 17, "DONE": 28}


@pytest.mark.parametrize("name", BODIES)
def test_whole_frames(name):
    body, whole = getattr(layouts, name), getattr(layouts, f"{name}_FRAME")
    assert body.size == BODIES[name]
    assert whole.size == layouts.HEAD.size + body.size
    assert getattr(layouts, f"{name}_LENGTH") == whole.size - layouts.LENGTH_BYTES


def test_frames_of_clients():
    assert (layouts.HELLO.size, layouts.COMMAND.size, layouts.RESULT.size, layouts.WHO.size) == (3, 14, 9, 12)
    assert (layouts.U32.size, layouts.TICKET.size, layouts.KEEP.size) == (4, 8, 12)


def test_frames_that_no_hot_loop_writes():
    sizes = {
        "MEMBERS": 18,
        "MEMBER": 18,
        "WELCOME_KEEP": 5,
        "STOP": 8,
        "YIELDED": 28,
        "BATON": 16,
        "CHANGED": 26,
    }
    assert {name: getattr(layouts, name).size for name in sizes} == sizes
