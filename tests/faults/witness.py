"""The witness of a fault: U3 over a sender and its juniors, their delays, and the figures for a table."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..protocol.frames import QUIET, Code, Command, Error, Execute, Rank, encode
from ..protocol.peer import ClosedError, Peer, SilenceError


def figure(row: str, what: str, value: str) -> None:
    """Append a row's figure to the file named by RANKMUX_FAULTS_FIGURES, if it is set."""
    if path := os.environ.get("RANKMUX_FAULTS_FIGURES"):
        with Path(path).open("a") as file:
            file.write(f"{row}\t{what}\t{value}\n")


class Witness:
    """U3: a sender and its juniors, which must receive each of its commands once, whole and in order.

    `lags` are the seconds from each sending to its last receipt. A thread reads the members and skips RANK frames.
    """

    def __init__(
        self, sender: Peer, receivers: list[Peer], *, every_s: float = 0.02, size: int = 200
    ) -> None:
        self.sent = 0
        self.lags: list[float] = []
        self.held_s = 0.0
        self.ranks: dict[Peer, list[Rank]] = {receiver: [] for receiver in receivers}
        self._sender = sender
        self._receivers = receivers
        self._every_s = every_s
        self._size = size
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._sent_at: list[float] = []
        self._late: list[float] = []
        self._seen_at: dict[Peer, list[float]] = {receiver: [] for receiver in receivers}
        self._threads = [threading.Thread(target=self._guard, args=(self._send,))]
        self._threads += [threading.Thread(target=self._guard, args=(self._watch, r)) for r in receivers]
        for thread in self._threads:
            thread.start()

    def finish(self, *, within_s: float = 20.0) -> None:
        """Stop sending, and assert that every command has arrived."""
        self._stop.set()
        for thread in self._threads:  # first the one that sends
            thread.join(within_s)
            assert not thread.is_alive(), "U3: a healthy member still waits for a command"
        if self._failure is not None:
            raise self._failure
        assert all(len(seen) == self.sent for seen in self._seen_at.values())
        self.lags = [
            max(seen[n] for seen in self._seen_at.values()) - at for n, at in enumerate(self._sent_at)
        ]

    def p99(self) -> float:
        """The 99th percentile of the lags, in seconds."""
        return sorted(self.lags)[int(len(self.lags) * 0.99)]

    def keeps(self, limit_s: float) -> bool:
        """Whether `p99` is under the limit, apart from the delay of this process's own wake-ups."""
        late = sorted(self._late)[int(len(self._late) * 0.99)] if self._late else 0.0
        return self.p99() < limit_s + max(0.0, late)

    def ms(self) -> str:
        """The figure as text."""
        return f"{self.p99() * 1000:.0f} ms"

    def _guard(self, what: Callable[..., None], *args: object) -> None:
        try:
            what(*args)
        except BaseException as failure:  # noqa: BLE001 - raised in finish()
            self._failure = self._failure or failure
            self._stop.set()

    def _send(self) -> None:
        self._sender.sock.settimeout(30)
        while not self._stop.is_set():
            self._sent_at.append(time.monotonic())
            number = self.sent
            octets = number.to_bytes(8, "big") + bytes([number & 0xFF]) * self._size
            self._sender_command(number, octets)
            self.sent += 1
            self.held_s = max(self.held_s, time.monotonic() - self._sent_at[-1])
            due = time.monotonic() + self._every_s
            self._stop.wait(self._every_s)
            self._late.append(time.monotonic() - due)

    def _sender_command(self, number: int, octets: bytes) -> None:
        self._sender.sock.settimeout(30)
        self._sender.sock.sendall(encode(Command(number, 0, 0, QUIET, 0, octets)))

    def _watch(self, receiver: Peer) -> None:
        seen = self._seen_at[receiver]
        last_seq = 0
        while self._threads[0].is_alive() or len(seen) < self.sent:
            try:
                frame = receiver.recv(0.2)
            except SilenceError:
                continue
            except ClosedError as closed:
                raise AssertionError(f"U3: a healthy member lost its connection: {closed}") from None
            if isinstance(frame, Rank):
                self.ranks[receiver].append(frame)
                continue
            if not isinstance(frame, Execute) or len(frame.payload) != self._size + 8:
                continue  # from another sender
            number = int.from_bytes(frame.payload[:8], "big")
            assert number == len(seen), f"U3: command {number} came where {len(seen)} was due"
            assert frame.payload[8:] == bytes([number & 0xFF]) * self._size, "U3: a torn command"
            assert frame.seq > last_seq
            last_seq = frame.seq
            seen.append(time.monotonic())


def expect_end(peer: Peer, code: Code, timeout_s: float = 5.0) -> None:
    """Skip other frames; then expect this ERROR, and the end."""
    deadline = time.monotonic() + timeout_s
    while isinstance(frame := peer.recv(max(0.0, deadline - time.monotonic())), Execute | Rank):
        pass
    assert isinstance(frame, Error), frame
    assert frame.code == code, frame
    peer.expect_close(reset_ok=True)
