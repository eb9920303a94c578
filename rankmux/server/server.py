"""A server: built from its settings, run by `serve_forever` or step by step, ended by `stop`.

Single-threaded and non-blocking. Embed it with `step` or `serve_forever`; as a context manager it runs in a thread of
its own, for tests and demonstrations. `turn` has the steps.
"""

from __future__ import annotations

import logging
import secrets
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Self, Unpack

from ..config import Config, configured
from ..core.cluster.entries import Rules
from ..core.cluster.fold import Fold
from ..core.room.batch import Batch
from ..core.room.ranks import has_seat
from ..core.room.room import Room
from ..courier.credentials import read_credentials, tls_context
from ..courier.settings import CourierSettings
from ..errors import ConfigError
from ..system.extras import how_to_get
from ..system.json_lines import tagged
from ..system.memory import give_back
from ..system.reactor import Reactor
from .admin.opening import open_endpoint
from .admin.stats import Stats
from .admin.status import ServerStatus
from .cluster.courier import CourierLog
from .cluster.log import Log
from .cluster.sequencer import ClusterSequencer
from .connections.closes import CloseReason
from .connections.deadlines import Deadlines
from .connections.reaper import Reaper
from .connections.registry import Connections
from .draining import Draining
from .event_log import EventLog
from .intake.auth import Auth
from .intake.reading import Intake
from .kernel.accept import accept
from .kernel.fanout import Ring
from .live_settings import LiveSettings, Source
from .sequencer import LocalSequencer, Sequencer
from .settings import ServerSettings
from .shutdown import Shutdown
from .sockets.listener import Listener
from .state_file import StateFile
from .thread import ServerThread
from .turn import Turns

__all__ = ["Server"]

log = logging.getLogger("rankmux.server")


class Server:
    """A server that listens from its creation on. `settings` are those of `ServerSettings`, unless `config` has them.

    `tokens` are accepted beside those of `token_file`; without any, every client is. `listener` and `admin_listener`
    are sockets that were opened elsewhere, to be used instead of those that the settings name; so is `log_`, instead of
    that of `cluster`. `source` reads the settings again when `reload` is asked for. With `selector`, `clock`,
    `cpu_clock` (processor time of the thread) and `randbits`, time and chance can be made up. Raises ConfigError on a
    wrong setting, an address that cannot be had, or one that would be open to strangers.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        tokens: tuple[bytes, ...] = (),
        selector: selectors.BaseSelector | None = None,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
        randbits: Callable[[int], int] = secrets.randbits,
        listener: socket.socket | None = None,
        admin_listener: socket.socket | None = None,
        log_: Log | None = None,
        source: Source | None = None,
        **settings: Unpack[ServerSettings],
    ) -> None:
        # Settings may change while the server runs: those of this server alone.
        self.config = config = configured(settings, config)
        self._source = source
        self.stopped = False
        self.state_lost = False  # the kept seats could not be written to their file
        self._auth = Auth(config, tokens)
        self._state = StateFile(config.state) if config.state else None
        try:
            self._reactor = Reactor(selector, clock)
            self._set_up(config, clock, cpu_clock, randbits, listener, admin_listener, log_)
        except BaseException:
            self._close_state()
            raise
        try:
            if self._state is not None:
                self._state.remove()  # not before: a start that fails must not cost the seats
        except ConfigError:
            self.close()
            raise

    def _set_up(
        self,
        config: Config,
        clock: Callable[[], float],
        cpu_clock: Callable[[], float],
        randbits: Callable[[int], int],
        listener: socket.socket | None,
        admin_listener: socket.socket | None,
        shared_log: Log | None,
    ) -> None:
        first_ticket = config.first_ticket or time.time_ns() // 1_000_000 * 1000
        self.room = Room(
            config.seats,
            config.max_payload,
            config.waiting_max,
            config.result_ttl_ms,
            config.waiting_total_max,
            told_max_bytes=config.outbox_soft_bytes,
            first_ticket=first_ticket,
        )
        kept = None if self._state is None else self._state.load(self.room, int(clock() * 1000))
        self.stats = Stats(
            watched=bool(config.admin or config.admin_unix or config.metrics or admin_listener)
        )
        self.connections = Connections(config, self._reactor)
        self._reaper = Reaper(config, self._reactor, self.connections)
        self._ring = Ring(config.io_uring == "auto")
        try:
            self._listener = Listener(config, self._reactor, self._auth.check_address, accept, listener)
        except BaseException:
            self._reactor.close()
            raise
        self._sequencer: Sequencer
        if shared_log is None and config.cluster:
            shared_log = CourierLog(_courier_settings(config), self._reactor.watch)
        if shared_log is None:
            self._sequencer = LocalSequencer(randbits(64) if kept is None else kept)
        else:
            fold = Fold(self.room, Batch(config.max_payload), _rules(config))
            self._sequencer = ClusterSequencer(
                config, fold, shared_log, self.connections, first_ticket, clock, randbits
            )
        self._status = ServerStatus(
            config,
            self._sequencer,
            self.room,
            self.connections,
            self._listener,
            self.stats,
            clock,
            self._auth,
        )
        try:
            self._endpoint = open_endpoint(
                config, self._status, self, self._reactor, self._listener.address[1], admin_listener
            )
        except BaseException:
            self._listener.close()
            self._reactor.close()
            raise
        batch = Batch(config.max_payload)
        intake = Intake(config, self._listener, self.connections, self._auth, batch)
        event_log = EventLog(self.room.ranks, config.log_lines_per_s, config.log_excerpt_bytes)
        self._live = LiveSettings(
            config, self.room, self.connections, intake, event_log, shared=self._sequencer.shared
        )
        self._draining = Draining(self.room, self.connections)
        self._turns = Turns(
            config,
            self.room,
            batch,
            intake,
            self._sequencer,
            self.connections,
            self._reaper,
            Deadlines(config, self.connections, clock(), cpu_clock),
            self.stats,
            event_log,
            self._ring,
        )
        self._shutdown = Shutdown(self.connections, self._listener)
        self._reload_asked = False
        self._thread: ServerThread | None = None
        if isinstance(self._sequencer, ClusterSequencer):
            self._sequencer.open(clock())

    @property
    def instance(self) -> int:
        """The number of the room, which WELCOME says: another one after a restart that lost the seats."""
        return self._sequencer.instance

    @property
    def ready(self) -> bool:
        """Whether members can join: not before a cluster's log has been read, and not during a stop."""
        return self._status.ready

    @property
    def log_seq(self) -> int:
        """The last entry of the cluster's log that this server has read; 0 without a cluster."""
        return self._sequencer.seq

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on, the real port where 0 was asked for; a Unix socket's path and 0."""
        return self._listener.address

    @property
    def where(self) -> str:
        """The same as one text: `127.0.0.1:7117`, `unix:/run/rankmux.sock`."""
        return self._listener.where

    @property
    def admin_where(self) -> list[str]:
        """The addresses of the admin endpoint: `http://127.0.0.1:7118/`."""
        return self._endpoint.where

    def serve_forever(self) -> None:
        """Run turns until `stop` was called and every connection is closed."""
        while not self.stopped:
            self.step(None)

    def stop(self, drain_s: float | None = None) -> None:
        """Shut down in order: ERROR SHUTDOWN to every member; queued bytes go out for up to `drain_s` seconds.

        `drain_s` defaults to the setting `shutdown_drain_s`. May be called from a signal handler or another thread, and
        again to shorten the time; returns at once.
        """
        self._shutdown.ask(self.config.shutdown_drain_s if drain_s is None else drain_s)
        self._reactor.wake()

    def reload(self) -> None:
        """Read the token file, the certificates and the settings of `source` again in the next turn.

        May be called from a signal handler.
        """
        self._reload_asked = True
        self._reactor.wake()

    @property
    def reloading(self) -> bool:
        """Whether `reload` was called, and not carried out yet."""
        return self._reload_asked

    def kick(self, ticket: int) -> bool:
        """Throw out the member with that ticket, present or absent; False when no seat has it. `is_out` tells the end.

        For the thread that runs the turns.
        """
        return self._turns.kick(ticket, self._reactor.clock())

    def is_out(self, ticket: int) -> bool:
        """Whether no seat has that ticket any more, or its member was thrown out for certain.

        After `kick`, that is so as soon as it has been carried out: in a cluster, once the log has it.
        """
        return not has_seat(self.room.ranks.tickets, ticket) or self._sequencer.has_kicked(ticket)

    def drain(self, wait_s: float) -> int:
        """Admit nobody new any more, and stop when the members owe no results, or after `wait_s` seconds.

        Members whose seats are kept may return, but for those of a cluster, which has other servers. Called again, it
        only shortens the time. Returns how many results are owed now. For the thread that runs the turns.
        """
        until = self._reactor.clock() + wait_s
        self._draining.begin(until)
        self._turns.admits = False
        self._status.draining = True
        self._reactor.call_at(until, lambda _: None)
        return self._draining.owed()

    def change(self, given: Mapping[str, str]) -> list[str]:
        """Change settings by name, all or none; returns a line for each that has another value now.

        Raises ConfigError, also for a setting that cannot change. For the thread that runs the turns.
        """
        return [str(one) for one in self._live.change(given)]

    def close(self) -> None:
        """Close all sockets at once, for a program that runs `step`; `serve_forever` leaves nothing open.

        The seats are not stored in the file of `state`, as they are by `stop`.
        """
        if self.stopped:
            return
        now = self._reactor.clock()
        self._listener.close()
        for conn in self.connections:
            self.connections.end(conn, CloseReason.SHUTDOWN, "the server closed", now)
            self.connections.drop(conn)
        self._turns.freeze(now)
        self._close_rest()

    def __enter__(self) -> Self:
        self._thread = ServerThread(self.serve_forever)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def step(self, timeout: float | None) -> None:
        """One turn: wait up to `timeout` seconds (None: without limit) until there is something to do, and do it."""
        if self.stopped:
            return
        reactor = self._reactor
        try:
            ready = reactor.poll(self._patience(timeout))
            now = reactor.clock()
        except MemoryError:
            return  # nothing has been taken, so nothing is lost
        try:
            foreign = self._turns.run(ready, now)
            reactor.run_due()
            self._endpoint.turn(self._without_wake_up(foreign) if foreign else foreign, now)
            self.stats.turn(now, reactor.clock(), len(self.connections.pacing))
            if self._reload_asked:
                self._reload_asked = False
                self._reload()
            if not self._shutdown.asked and self._draining.is_over(now):
                self._draining.end()
                self.stop()
            if self._shutdown.asked:
                self._shut_down(now)
        except MemoryError:
            if self._sequencer.shared:
                raise  # half of an entry may have been applied: only reading the log anew makes it whole
            self._start_over()

    def _reload(self) -> None:
        if self._source is not None:
            self._live.reload(self._source)
        self._auth.reload()

    def _without_wake_up(self, foreign: list[int]) -> list[int]:
        return [fd for fd in foreign if not self._reactor.woken(fd)]

    def _patience(self, timeout: float | None) -> float:
        """The longest time that the next `poll` may wait, in seconds."""
        if self._endpoint.busy:
            return 0.0
        wait = self._turns.patience(self._reactor.clock())
        return wait if timeout is None else min(timeout, wait)

    def _shut_down(self, now: float) -> None:
        leaving = self._turns.leaving()
        if self._shutdown.begin(now):
            self._status.close_doors()
            self._turns.freeze(now)
            if self._state is not None:
                self.state_lost = not self._state.store(self.instance, self.room, leaving)
        if self._shutdown.is_over(now):
            self._shutdown.drop_all()
            self._reaper.reap(now)
            if self._sequencer.leave(now):
                self._close_rest()
                self._shutdown.report()

    def _close_rest(self) -> None:
        """All connections are closed: close the rest."""
        self._endpoint.close()
        self._sequencer.close()
        self._reactor.close()
        self._ring.close()
        self._close_state()
        self.stopped = True

    def _close_state(self) -> None:
        if self._state is not None:
            self._state.close()

    def _start_over(self) -> None:
        """Memory ran out in the middle of a turn, and not in the work for one connection, which would end that one.

        Half of a turn may have been applied. Nobody sees it: all connections are reset, the room is emptied, and the
        loop goes on.
        """
        now = self._reactor.clock()
        self._turns.start_over()
        count = self._reaper.abandon(now)
        give_back()
        text = "no memory to finish a turn: all %d connections were reset, and the room is empty"
        log.critical(text, count, extra=tagged("started_over", connections=count))


def _courier_settings(config: Config) -> CourierSettings:
    if find_spec("nats") is None:
        expected = f"a cluster needs nats-py: {how_to_get('cluster')}"
        raise ConfigError("cluster", config.cluster, expected)
    settings = CourierSettings(
        tuple(url.strip() for url in config.cluster.split(",")),
        config.room,
        config.server_name,
        config.cluster_replicas,
        config.cluster_creds,
        config.cluster_tls_ca,
        config.cluster_tls_cert,
        config.cluster_tls_key,
    )
    tls_context(settings)  # the courier reads the files: here it is only found out whether it can
    read_credentials(settings.creds, private=True)
    return settings


def _rules(config: Config) -> Rules:
    """The settings that all servers of a room must have in common."""
    return Rules(
        config.seats,
        config.max_payload,
        config.waiting_max,
        config.waiting_total_max,
        config.result_ttl_ms,
        round(config.keep_max_s * 1000),
        config.outbox_soft_bytes,
        round(config.cluster_fence_s * 1000),
        round(config.cluster_down_s * 1000),
        config.room,
    )
