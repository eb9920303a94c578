"""A server process of the simulated world: started, killed, stopped for a while, ended in order."""

from __future__ import annotations

import math
from collections.abc import Callable

from rankmux._twin import TWIN
from rankmux.errors import LogBroken
from rankmux.server.cluster.log import Log
from rankmux.server.connections.closes import CloseReason
from rankmux.server.server import Server

from .network import End, Host
from .simulated_log import Courier
from .sockets import Asleep, Files, SimulatedListener, SimulatedSelector
from .world import World

__all__ = ["Killed", "Node"]

_TURN_S = 0.0004  # what a turn takes, about
_TURNS_PER_S = 3500  # a server with more has no pause at all


class Killed(BaseException):
    """Raised in the middle of a turn of a server that was killed."""


class Node(Host):
    """A server with `settings`; `make_log` opens its way to the shared log, None when it is alone.

    `failed` are the reasons for which it ended by itself, `observe` is called after each of its turns. `speaking()`
    is the version of the log that a process which is started now speaks, `speaks` that of the last one.
    """

    def __init__(
        self,
        world: World,
        name: str,
        settings: dict[str, object],
        make_log: Callable[[Node], Log] | None = None,
    ) -> None:
        super().__init__(name)
        assert TWIN == "pure", "the compiled twin reads real descriptors: set RANKMUX_EXTENSION=0"
        self.world = world
        self.server: Server | None = None
        self.files = Files()
        self.failed: list[str] = []
        self.mistakes = 0  # internal errors
        self.observe: Callable[[Node], None] = lambda _: None
        self.clock_offset = 0.0
        self.speaking: Callable[[], int] = lambda: 1
        self.speaks = 1
        self.log_deaf = self.log_mute = False  # cut off from the shared log
        self.stopped_until = 0.0
        self.stops: list[tuple[float, float]] = []
        self.starts = 0
        self.courier: Courier | None = None
        self.seen = 0  # the last entry of the log whose outcome was looked at
        self._settings = settings
        self._make_log = make_log
        self._listener: SimulatedListener | None = None
        self._selector: SimulatedSelector | None = None
        self._life = 0
        self._planned = self._running = False
        self._at_send: Callable[[], None] | None = None
        self._wake = 0
        self._second = self._turns = 0

    @property
    def up(self) -> bool:
        """Whether the process is there."""
        return self.server is not None

    @property
    def stopped(self) -> bool:
        """Whether the process is stopped, and will go on."""
        return self.world.now < self.stopped_until

    def start(self) -> None:
        """Start the process; its clock has nothing to do with those of others."""
        assert self.server is None
        self.heal()
        world = self.world
        self.clock_offset = world.random.uniform(0, 100_000)
        self.files = Files()
        self._selector = SimulatedSelector(self)
        self._listener = SimulatedListener(self, 7000)
        self._life += 1
        self.starts += 1
        self._planned = self._running = False
        self._at_send = None
        shared = {} if self._make_log is None else {"log_": self._make_log(self)}
        self.server = Server(
            selector=self._selector,
            clock=lambda: world.now + self.clock_offset,
            cpu_clock=lambda: 0.0,
            randbits=world.random.getrandbits,
            listener=self._listener,
            **shared,
            **self._settings,
        )
        self.speaks = self.speaking()
        if shared:
            self.server._sequencer._fold.spoken = self.speaks
            self.server._sequencer._upgrade.settled_s = 0.5
        self.world.trace(self.name, f"starts, and speaks version {self.speaks}")
        self.poke()

    def connect(self, end: End, port: int) -> bool:
        """A client's connection arrives; False when nobody listens."""
        if self._listener is None or self.server is None or not self.server._listener.fds:
            return False
        self._listener.waiting.append((end, port))
        self.poke()
        return True

    def stop_for(self, seconds: float, *, in_turn: bool = False) -> None:
        """Stop the process as SIGSTOP does: between two turns, or where the next turn sends something."""
        if self.server is None or self.stopped:
            return
        if not in_turn:
            self._stop(seconds)
            self.world.at(self.stopped_until, self.poke)
            return

        def stop_here() -> None:
            self._stop(seconds)
            self.world.run(self.stopped_until)

        self._at_send = stop_here

    def _stop(self, seconds: float) -> None:
        self.world.trace(self.name, f"is stopped for {seconds:.2f} s")
        self.stopped_until = self.world.now + seconds
        self.stops.append((self.world.now, self.stopped_until))

    def kill(self, *, silently: bool = False) -> None:
        """End the process at once. Its connections are reset by the kernel; `silently`: the machine is gone, too."""
        if self.server is None:
            return
        self.world.trace(self.name, "is killed" + ", and its machine with it" * silently)
        if silently:
            self.deaf = self.mute = True
        for end in self.files.ends():
            end.close(reset=True)
        if self._listener is not None:
            for end, _ in self._listener.waiting:
                end.close(reset=True)
        self._gone()

    def kill_in_turn(self) -> None:
        """Kill it where the next turn sends something."""
        self._at_send = self.kill

    def quit(self, drain_s: float = 1.0) -> None:
        """End it in order, as SIGTERM does."""
        if self.server is not None:
            self.world.trace(self.name, "stops in order")
            self.server.stop(drain_s)

    def forget_plans(self) -> None:
        """What was to happen in the middle of its next turn does not."""
        self._at_send = None

    def about_to_send(self) -> None:
        """The server calls the kernel: what was to happen in the middle of a turn happens."""
        if self._at_send is not None:
            do, self._at_send = self._at_send, None
            life = self._life
            do()
            if life != self._life:
                raise Killed

    def poke(self) -> None:
        """Something may have become ready."""
        if not self._planned and self.server is not None:
            self._planned = True
            life = self._life
            self.world.after(self.world.random.random() * _TURN_S, lambda: self._turn(life))

    def _turn(self, life: int) -> None:
        if life != self._life or self.server is None:
            return
        self._planned = False
        if self._running or self.stopped:
            return  # it looks again behind its turn, or when it goes on
        self._running = True
        try:
            self.server.step(None)
        except Asleep as asleep:
            self._sleep(asleep.timeout)
            return
        except Killed:
            return
        except LogBroken as error:
            self.world.trace(self.name, f"ends: {error}")
            if not self._left_behind(str(error)):
                self.failed.append(str(error))
            self.kill()
            return
        finally:
            if life == self._life:
                self._running = False
        self.observe(self)
        self._count_turns()
        if self.server is None:
            return
        if self.server.stopped:
            self.world.trace(self.name, "has ended")
            self._gone()
        else:
            self.poke()

    def _left_behind(self, error: str) -> bool:
        """Whether it was not up when the others went on to a version that it does not speak."""
        assert self.server is not None
        sequencer = self.server._sequencer
        return (
            self.speaks == 1
            and error.endswith(("upgrade it", "upgrade this server"))
            and sequencer._writer.incarnation not in sequencer._fold.up
        )

    def _count_turns(self) -> None:
        """A server that never sleeps has something wrong: it waits for what does not come."""
        second = int(self.world.now)
        self._turns = self._turns + 1 if second == self._second else 1
        self._second = second
        if self._turns > _TURNS_PER_S:
            self.failed.append("it made turn after turn without a pause")
            self.kill()

    def _sleep(self, timeout: float | None) -> None:
        if timeout is None or math.isinf(timeout):
            return
        self._wake += 1
        wake, life = self._wake, self._life

        def over() -> None:
            if wake == self._wake and life == self._life and self._selector is not None:
                self._selector.awake = True
                self.poke()

        self.world.after(timeout + 1e-6 + self.world.random.random() * 0.001, over)

    def _gone(self) -> None:
        assert self.server is not None
        self.mistakes += self.server.connections.closes.counts[CloseReason.INTERNAL]
        self.server._sequencer.close()
        self.server = self._listener = self._selector = None
        self._life += 1
        self.stopped_until = 0.0
