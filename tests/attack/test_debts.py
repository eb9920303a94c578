"""Many results that expire together, and many that are LEFT together: both arrive in time, over several turns."""

from __future__ import annotations

import pytest

from ..faults.witness import figure
from ..protocol.frames import Code
from .conftest import Rigging, twins
from .innocent import Reading, judged, measured
from .scene import FLAGS, FULL, Attack, stop_under_attack, summary

pytestmark = [pytest.mark.attack, pytest.mark.slow]

TTL_S = 3.0
PATIENCE_S = 20.0
SENDERS = 400
COMMANDS = 1024
EXECUTORS = 400  # their results are more than outbox_hard_bytes
QUIET_FLAGS = (*FLAGS, "--ping-ms", "60000")


@twins()
def test_results_that_expire_together(rig: Rigging, extension: bool) -> None:
    """All commands are to one executor that never answers: the last of them, too, expires in time."""
    members, commands = SENDERS, COMMANDS if FULL else COMMANDS // 8
    late_s = 1.0 if extension else 2.0

    def scene() -> Reading:
        server = rig(members + 5, *QUIET_FLAGS, extension=extension)
        innocent = server.join("innocent")
        options = {"members": members, "commands": commands, "ttl_ms": int(TTL_S * 1000)}
        with Attack(server, "expiring", **options) as attack:
            with measured(server, innocent) as watched:
                attack.go()
                attack.finished(TTL_S + PATIENCE_S)
            reading = watched.result()
            stop_under_attack(server, reading, attack)
        report = attack.report
        total = members * commands
        after_s = attack.number("expired_after_s")
        if (report["accepted"], report["expired"], report["done"]) != (total, total, total):
            reading.wrong.append(f"not all of {total} commands were accepted, expired and done")
        if after_s - TTL_S > late_s:
            reading.wrong.append(f"the last EXPIRED is {after_s - TTL_S:.1f} s late")
        reading.notes["lateness"] = f"{after_s - TTL_S:.2f} s"
        figure("attack", f"expiring-{members}-{'extension' if extension else 'pure'}", str(reading))
        return reading

    judged(scene)


@twins()
def test_executors_that_vanish_together(rig: Rigging, extension: bool) -> None:
    """The sender reads: it is not evicted, however much it receives at once, and gets each LEFT and each DONE once."""

    def scene() -> Reading:
        server = rig(EXECUTORS + 5, *QUIET_FLAGS, extension=extension)
        innocent = server.join("innocent")
        with Attack(server, "departing", executors=EXECUTORS, commands=COMMANDS) as attack:
            with measured(server, innocent) as watched:
                with server.one_turn():
                    attack.go()
                attack.finished(PATIENCE_S)
            reading = watched.result()
            stop_under_attack(server, reading, attack)
        report = attack.report
        reading.notes["attack"] = summary(report)
        owed = EXECUTORS * COMMANDS
        errors = report["errors"]
        assert isinstance(errors, list)
        if Code.SLOW in errors:
            reading.wrong.append("the sender was evicted as a slow reader")
        elif (report["left"], report["unique"], report["done"]) != (owed, owed, COMMANDS):
            reading.wrong.append(f"not each of {owed} LEFT and {COMMANDS} DONE came once")
        figure("attack", f"departing-{'extension' if extension else 'pure'}", str(reading))
        return reading

    judged(scene)
