"""Deadlines after a pause of the server process; the clock is the test's."""

from __future__ import annotations

import pytest

from rankmux.wire import Ping, Pong

from ...support.embedded import embedded

STOPPED_S = 30.0


def test_a_peer_that_falls_silent_after_a_pause_is_pinged_in_time() -> None:
    """Input that arrived during the pause does not extend a peer's deadline beyond those of others."""
    now = [1000.0]
    with embedded(clock=lambda: now[0], ping_ms=1000) as rig:
        silent, talker = rig.join("silent"), rig.join("talker")
        now[0] += STOPPED_S
        talker.send(Ping(b"here"))
        rig.step(silent, talker)
        assert [type(frame) for frame in talker.news()] == [Pong]
        pinged: dict[str, float] = {}
        for tick in range(1, 41):
            now[0] += 0.05
            rig.step(silent, talker)
            for client, name in ((silent, "silent"), (talker, "talker")):
                if name not in pinged and Ping(b"") in client.news():
                    pinged[name] = tick * 0.05
        assert {name: 0.9 <= after <= 1.5 for name, after in pinged.items()} == {
            "silent": True,
            "talker": True,
        }
        assert silent.ended is None


@pytest.mark.parametrize(("worked_s", "closed"), [(0.0, False), (3.5, False), (4.5, True), (5.0, True)])
def test_time_in_which_the_process_worked_counts(worked_s: float, closed: bool) -> None:
    """A sweep is five seconds late. No peer is charged for a long interval in which the server did not run."""
    now, cpu = [1000.0], [7.0]
    with embedded(clock=lambda: now[0], handshake_timeout_s=2.0) as rig:
        deadlines = rig.server._turns._deadlines
        deadlines._cpu_clock = lambda: cpu[0]
        silent = rig.connect()
        rig.step()
        now[0] += 0.05
        rig.step()
        now[0] += 5.0
        cpu[0] += worked_s
        rig.step(silent)
        rig.step(silent)
        assert bool(rig.server.connections.greeting) is not closed
