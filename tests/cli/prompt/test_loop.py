"""The loop of the prompt: descriptors, timers and settlers as `loop.Driver` promises them."""

from __future__ import annotations

import asyncio
import socket

from rankmux.cli.prompt.loop import PromptLoop
from rankmux.cli.seat.loop import READABLE, WRITABLE

from ...support.script import PATIENCE_S


def ran(scene) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            over = asyncio.get_running_loop().create_future()
            scene(PromptLoop(asyncio.get_running_loop()), ours, theirs, over)
            await asyncio.wait_for(over, PATIENCE_S)

    asyncio.run(run())


def test_readiness_and_the_end_of_it():
    heard = []

    def scene(loop, ours, theirs, over) -> None:
        def ready(mask: int) -> None:
            heard.append(mask)
            if mask == WRITABLE:
                loop.watch(ours.fileno(), READABLE, ready)
                theirs.send(b"x")
            elif ours.recv(1) == b"x":
                loop.watch(ours.fileno(), 0, ready)
                theirs.send(b"y")  # nobody listens any more
                loop.after(0.05, lambda: over.set_result(None))

        loop.watch(ours.fileno(), READABLE | WRITABLE, ready)

    ran(scene)
    assert heard == [WRITABLE, READABLE]


def test_a_callback_may_end_the_other_half():
    heard = []

    def scene(loop, ours, theirs, over) -> None:
        def ready(mask: int) -> None:
            heard.append(mask)
            loop.watch(ours.fileno(), 0, ready)
            loop.after(0.02, lambda: over.set_result(None))

        theirs.send(b"x")
        loop.watch(ours.fileno(), READABLE | WRITABLE, ready)

    ran(scene)
    assert len(heard) == 1


def test_settlers_are_called_after_callbacks_and_when_they_asked():
    calls = []

    def scene(loop, ours, theirs, over) -> None:
        def settle() -> float | None:
            calls.append(loop.clock())
            if len(calls) == 4:
                over.set_result(None)
            if len(calls) == 2:
                loop.settle_again()  # it made work for itself
                return None
            return 0.0

        loop.settlers.append(settle)
        loop.after(0.0, lambda: None)

    ran(scene)
    assert len(calls) >= 4


def test_a_timer_that_is_cancelled():
    def scene(loop, ours, theirs, over) -> None:
        loop.after(0.0, lambda: over.set_exception(AssertionError("cancelled"))).cancel()
        loop.after(0.02, lambda: over.set_result(None))

    ran(scene)
