"""Members that do not read: none of their output is lost, and a member that sends too much waits for them."""

from __future__ import annotations

import pytest

from rankmux.codes import CommandFlag, Target
from rankmux.wire import Command, Leave, Ping, Pong

from ..support.embedded import embedded, executed, to_all
from ..support.history import check_together


@pytest.mark.parametrize("directed", [False, True], ids=["all", "one"])
def test_a_slow_reader_catches_up_without_loss(directed):
    """Turns of all sizes, with a member that reads nothing until they are over."""
    with embedded(seats=4, send_buffer_bytes=8192) as rig:
        sender, healthy = rig.crowd(2)
        slow = rig.join("slow", receive_buffer=8192)
        for i in range(150):
            payload = b"%d:" % i + bytes(i * 37 % 2000)
            commands = [to_all(i, payload, CommandFlag.QUIET)]
            if directed:
                commands.append(Command(i, Target.ONE, 2, CommandFlag.QUIET, 0, payload[::-1]))
            sender.send(*commands)
            rig.step(sender, healthy)
            if i % 50 == 49:
                slow.send(Ping(b"alive"))
        rig.settle(sender, healthy)
        assert rig.server.connections.outbox.size > 50_000
        assert len(slow.frames) == 1
        rig.settle()
        for client in (sender, healthy, slow):
            rig.check(client)
        assert len(executed(slow)) == (300 if directed else 150)
        check_together([sender.history, healthy.history, slow.history])
        rig.step()
        assert rig.server.connections.outbox.held_bytes == 0


def test_a_slow_reader_that_leaves_gets_its_backlog():
    with embedded(seats=4, send_buffer_bytes=4096, drain_s=30.0) as rig:
        sender = rig.join()
        slow = rig.join(receive_buffer=4096)
        for i in range(100):
            sender.send(to_all(i, bytes(2000), CommandFlag.QUIET))
            rig.step(sender)
        rig.settle(sender)
        slow.send(Leave())
        rig.settle(sender)
        sender.send(to_all(999, b"it has left"))
        rig.settle(sender)
        rig.until(lambda: slow.ended, slow)
        assert slow.ended == "end of stream"
        rig.check(slow)
        assert len(executed(slow)) == 100


def test_senders_wait_for_slow_readers():
    """Over the soft limit the sender is not read from; no member is evicted, and every frame arrives."""
    with embedded(
        seats=4, outbox_soft_bytes=50_000, outbox_hard_bytes=10_000_000, send_buffer_bytes=4096
    ) as rig:
        sender, healthy = rig.crowd(2)
        slow = rig.join("slow", receive_buffer=4096)
        for i in range(300):
            sender.send(to_all(i, bytes(4000), CommandFlag.QUIET))
        rig.until(lambda: rig.server.connections.outbox.size > 50_000, sender, healthy)
        for _ in range(50):
            rig.step(sender, healthy)
        assert len(executed(healthy)) < 300
        rig.until(lambda: len(executed(slow)) == 300)
        rig.settle()
        for client in (sender, healthy, slow):
            rig.check(client)


def test_a_peer_closed_inside_a_frame_is_reset():
    """All outboxes are full, and the member with the longest queue has left: its stream must not look complete."""
    with embedded(seats=5, outboxes_total_bytes=100_000, send_buffer_bytes=4096, drain_s=30.0) as rig:
        sender = rig.join()
        leaver, other = (rig.join(name, receive_buffer=4096) for name in ("leaver", "other"))

        def send(rank: int, count: int) -> None:
            for i in range(count):
                sender.send(Command(i, Target.ONE, rank, CommandFlag.QUIET, 0, bytes(3000)))
                rig.settle(sender)

        send(1, 25)
        leaver.send(Leave())
        rig.settle(sender)
        assert rig.server.connections.ending
        send(1, 20)  # now for the other one
        rig.until(lambda: leaver.ended, leaver)
        assert leaver.ended == "reset"
        assert other.ended is None
        assert rig.server.connections.undelivered_bytes > 0


def test_half_way_to_the_limit_commands_wait_and_queries_do_not():
    """No further command is taken, whatever its target; a PING is answered, and the loop does not spin meanwhile."""
    with embedded(
        seats=6, send_buffer_bytes=4096, outbox_soft_bytes=20_000, outbox_hard_bytes=400_000
    ) as rig:
        first, second, asker = rig.crowd(3)
        slow = rig.join(receive_buffer=4096)
        outbox = rig.server.connections.outbox
        number = 0
        while not outbox.full:
            number += 1
            assert number < 1000
            for sender in (
                first,
                second,
            ):  # each is paced as soon as it has filled the queue; bytes wait in the kernel
                sender.send(Command(number, Target.ONE, 3, CommandFlag.QUIET, 0, bytes(30_000)))
            rig.step(first, second)
            for (
                conn
            ) in rig.server.connections.seats.values():  # as if their commands had arrived one turn earlier
                rig.server.connections.watching.resume(conn)
        asker.send(Ping(b"are you there"), to_all(1, b"later", CommandFlag.QUIET))
        rig.until(lambda: Pong(b"are you there") in asker.frames, asker)
        for _ in range(5):
            rig.step(asker)
        assert outbox.full
        assert not rig.room.arrived[asker.ticket], "its command waits"
        assert rig.server._turns.patience(rig.server._reactor.clock()) > 0
        rig.settle()
        assert executed(slow)[-1] == b"later"
        for client in (first, second, asker, slow):
            rig.check(client)
