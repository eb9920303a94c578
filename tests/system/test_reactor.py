"""The reactor on every available selector; the epoll selector against the standard library's."""

from __future__ import annotations

import select
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.system.reactor import HUNG_UP, READABLE, WRITABLE, EpollSelector, Reactor

from ..support.sockets import reset, tcp_pairs, wait_for

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
KINDS: list[type[selectors.BaseSelector]] = [EpollSelector, selectors.SelectSelector]
KINDS += [getattr(selectors, name) for name in ("PollSelector", "EpollSelector") if hasattr(selectors, name)]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind.__module__.partition('.')[0]}-{kind.__name__}")
def reactor(request: pytest.FixtureRequest) -> Iterator[Reactor]:
    made = Reactor(request.param())
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Asked(selectors.SelectSelector):
    """A selector that is never ready, and records its timeouts."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float | None] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.timeouts.append(timeout)
        return []


# Readiness.


def test_watched_events_are_reported(reactor, pair):
    near, far = pair
    fd = near.fileno()
    reactor.watch(fd, READABLE)
    assert reactor.poll(0) == []
    far.send(b"x")
    assert reactor.poll(5) == [(fd, READABLE)]
    assert reactor.poll(5) == [(fd, READABLE)], "as long as it is not read"
    reactor.watch(fd, READABLE | WRITABLE)
    assert reactor.poll(5) == [(fd, READABLE | WRITABLE)]
    reactor.watch(fd, WRITABLE)
    assert reactor.poll(5) == [(fd, WRITABLE)]
    reactor.watch(fd, READABLE)
    near.recv(10)
    assert reactor.poll(0) == []


def test_watching_for_no_events_unregisters(reactor, pair):
    """Not even the end of the stream, which a selector asked for no events would report in every poll."""
    near, far = pair
    reactor.watch(near.fileno(), READABLE)
    reactor.watch(near.fileno(), 0)
    reactor.watch(near.fileno(), 0)
    far.close()
    assert reactor.poll(0) == []
    reactor.watch(near.fileno(), READABLE)
    ((fd, mask),) = reactor.poll(5)
    assert (fd, mask & READABLE) == (near.fileno(), READABLE)


def test_a_descriptor_used_again(reactor):
    """Unregistered, then closed: the next file with this number gets only its own events."""
    first, other = socket.socketpair()
    fd = first.fileno()
    reactor.watch(fd, READABLE | WRITABLE)
    reactor.watch(fd, 0)
    first.close()
    second, third = socket.socketpair()
    with other, second, third:
        near, far = (second, third) if second.fileno() == fd else (third, second)
        assert near.fileno() == fd, "the kernel hands out the lowest number"
        reactor.watch(fd, READABLE)
        assert reactor.poll(0) == []
        far.send(b"x")
        assert reactor.poll(5) == [(fd, READABLE)]
        reactor.watch(fd, 0)


def test_a_crowd_is_watched_at_once(reactor):
    assert reactor.watch_all([]) == 0
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(70)]
        for sock in (sock for both in pairs for sock in both):
            stack.enter_context(sock)
        fds = [near.fileno() for near, _ in pairs]
        assert reactor.watch_all(fds) == len(fds)
        for _, far in pairs:
            far.send(b"x")
        assert sorted(reactor.poll(5)) == [(fd, READABLE) for fd in sorted(fds)]
        for fd in fds:
            reactor.watch(fd, 0)
        assert reactor.poll(0) == []


def test_a_crowd_is_watched_up_to_one_that_is_refused(reactor, pair):
    near, far = pair
    with socket.socket() as sock:
        closed = sock.fileno()
    if not isinstance(reactor._selector, EpollSelector | getattr(selectors, "EpollSelector", EpollSelector)):
        return  # these find out when they wait
    assert reactor.watch_all([near.fileno(), closed, far.fileno()]) == 1
    near.send(b"x")
    far.send(b"x")
    assert reactor.poll(5) == [(near.fileno(), READABLE)]
    reactor.watch(far.fileno(), READABLE)
    assert len(reactor.poll(5)) == 2


def test_a_watch_that_failed_can_be_repeated(reactor):
    with socket.socket() as sock:
        fd = sock.fileno()
    if not isinstance(reactor._selector, EpollSelector | getattr(selectors, "EpollSelector", EpollSelector)):
        return  # these find out when they wait
    with pytest.raises(OSError, match="Bad file descriptor"):
        reactor.watch(fd, READABLE)
    near, far = socket.socketpair()
    with near, far:
        far.send(b"x")
        near.setblocking(False)
        reactor.watch(near.fileno(), READABLE)
        assert reactor.poll(5) == [(near.fileno(), READABLE)]


def test_the_end_of_the_stream_is_known_together_with_the_bytes():
    made = Reactor(EpollSelector())
    with tcp_pairs(3) as pairs:
        for near, _ in pairs:
            made.watch(near.fileno(), READABLE)
        pairs[0][1].sendall(b"x")
        pairs[0][1].shutdown(socket.SHUT_WR)
        pairs[1][1].sendall(b"x")
        reset(pairs[2][1])
        wait_for(pairs[0][0], select.POLLRDHUP)
        wait_for(pairs[1][0], select.POLLIN)
        wait_for(pairs[2][0], select.POLLERR)
        masks = dict(made.poll(5))
        assert masks[pairs[0][0].fileno()] & HUNG_UP
        assert masks[pairs[0][0].fileno()] & READABLE
        assert masks[pairs[1][0].fileno()] == READABLE
        assert masks[pairs[2][0].fileno()] & HUNG_UP
        for near, _ in pairs:
            made.watch(near.fileno(), 0)
    made.close()


def test_all_that_is_ready_is_reported_at_once(reactor):
    with ExitStack() as stack:
        fds = []
        for _ in range(100):
            near, far = socket.socketpair()
            stack.enter_context(near)
            stack.enter_context(far)
            far.send(b"x")
            fds.append(near.fileno())
            reactor.watch(near.fileno(), READABLE)
        assert sorted(reactor.poll(5)) == [(fd, READABLE) for fd in sorted(fds)]


# Timers.


def test_timers_run_in_their_order_and_once():
    clock = Clock()
    reactor = Reactor(Asked(), clock)
    called: list[tuple[str, float]] = []

    def note(name):
        return lambda now: called.append((name, now))

    reactor.call_at(102, note("second"))
    reactor.call_at(101, note("first"))
    cancelled = reactor.call_at(101, note("cancelled"))
    reactor.call_at(102, note("third"))
    reactor.call_at(200, note("late"))
    cancelled.cancel()
    reactor.run_due()
    assert called == []
    clock.now = 101
    reactor.run_due()
    assert called == [("first", 101)]
    clock.now = 150
    reactor.run_due()
    reactor.run_due()
    assert called == [("first", 101), ("second", 150), ("third", 150)]
    reactor.close()


def test_a_timer_may_set_and_cancel_others():
    clock = Clock()
    reactor = Reactor(Asked(), clock)
    called: list[str] = []
    victim = reactor.call_at(105, lambda _: called.append("victim"))

    def first(now: float) -> None:
        called.append("first")
        victim.cancel()
        reactor.call_at(now, lambda _: called.append("at once"))
        reactor.call_at(now + 1, lambda _: called.append("later"))

    reactor.call_at(101, first)
    clock.now = 110
    reactor.run_due()
    assert called == ["first", "at once"]
    clock.now = 111
    reactor.run_due()
    assert called == ["first", "at once", "later"]
    reactor.close()


def test_a_poll_waits_no_longer_than_to_the_next_timer():
    clock = Clock()
    asked = Asked()
    reactor = Reactor(asked, clock)
    reactor.poll(None)
    reactor.poll(7)
    reactor.call_at(105, lambda _: None)
    reactor.call_at(103, lambda _: None)
    reactor.poll(None)
    reactor.poll(7)
    reactor.poll(1)
    clock.now = 104
    reactor.poll(None)
    assert asked.timeouts == [None, 7, 3, 3, 1, 0]
    reactor.close()


# The wake-up.


class Stopped(EpollSelector):
    """A selector of a process that is stopped during the first wait, beyond its timeout."""

    def __init__(self, stopped_s: float) -> None:
        super().__init__()
        self.now = 0.0
        self._stopped_s = stopped_s
        self.timeouts: list[float | None] = []

    def ready(self, timeout: float | None) -> list[tuple[int, int]]:
        self.timeouts.append(timeout)
        if len(self.timeouts) > 1:
            return [(7, READABLE)]
        self.now += self._stopped_s
        return []


@pytest.mark.parametrize(("stopped_s", "found"), [(0.2, []), (30.0, [(7, READABLE)])])
def test_a_wait_that_ends_late_looks_again(stopped_s, found):
    selector = Stopped(stopped_s)
    reactor = Reactor(selector, lambda: selector.now)
    try:
        assert reactor.poll(0.2) == found
        assert selector.timeouts == [0.2, 0.0][: 1 + len(found)]
    finally:
        reactor.close()


def test_a_wake_from_another_thread_ends_the_wait(reactor):
    thread = threading.Thread(target=reactor.wake)
    thread.start()
    ((fd, mask),) = reactor.poll(30)
    thread.join()
    assert mask & READABLE
    assert not reactor.woken(fd + 1)
    assert reactor.woken(fd)
    assert reactor.poll(0) == []


def test_any_number_of_wakes_is_one_and_none_blocks():
    reactor = Reactor()
    for _ in range(20_000):
        reactor.wake()
    ((fd, _),) = reactor.poll(5)
    assert reactor.woken(fd)
    assert reactor.poll(0) == []
    reactor.close()


def test_the_default_is_the_fastest_there_is():
    reactor = Reactor()
    assert isinstance(reactor._selector, EpollSelector) == hasattr(select, "epoll")
    reactor.close()


# Our selector against the standard library's.

linux_only = pytest.mark.skipif(not hasattr(select, "epoll"), reason="Linux only")


def by_fd(found: list[tuple[selectors.SelectorKey, int]]) -> dict[int, tuple[selectors.SelectorKey, int]]:
    return {key.fd: (key, events) for key, events in found}


@linux_only
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["register", "modify", "unregister", "send", "receive", "shut", "close", "key"]),
            st.integers(0, 2),
            st.sampled_from([READ, WRITE, READ | WRITE]),
        ),
        max_size=15,
    )
)
def test_the_selector_behaves_as_the_standard_one(steps):
    with ExitStack() as stack:
        ours, theirs = stack.enter_context(EpollSelector()), stack.enter_context(selectors.EpollSelector())
        pairs = [socket.socketpair() for _ in range(3)]
        for near, far in pairs:
            near.setblocking(False)
            stack.enter_context(near)
            stack.enter_context(far)

        def outcome(selector: selectors.BaseSelector, step: str, index: int, events: int) -> object:
            sock = pairs[index][0]
            target = sock if index else sock.fileno()
            try:
                match step:
                    case "register":
                        return selector.register(target, events, f"data {index}" if index else None)
                    case "modify":
                        return selector.modify(target, events, events)
                    case "unregister":
                        return selector.unregister(target)
                    case "key":
                        return selector.get_key(target)
            except KeyError as error:
                return type(error)
            return None

        for step, index, events in steps:
            near, far = pairs[index]
            with suppress(OSError):  # steps on a closed socket fail
                match step:
                    case "send":
                        far.send(b"x")
                    case "shut":
                        far.shutdown(socket.SHUT_WR)
                    case "close":
                        far.close()
                    case "receive":
                        near.recv(100)
            assert outcome(ours, step, index, events) == outcome(theirs, step, index, events)
            assert dict(ours.get_map()) == dict(theirs.get_map())
            assert by_fd(ours.select(0)) == by_fd(theirs.select(0))


@linux_only
@pytest.mark.timeout(5)
def test_a_timeout_below_zero_does_not_wait():
    for kind in (selectors.EpollSelector, EpollSelector):
        with kind() as selector:
            assert selector.select(-1) == []


@linux_only
@pytest.mark.parametrize("events", [0, 4, READ | 8])
def test_unknown_events(events):
    near, far = socket.socketpair()
    with near, far, EpollSelector() as selector:
        with pytest.raises(ValueError, match="Invalid events"):
            selector.register(near, events)
        assert dict(selector.get_map()) == {}
        selector.register(near, READ)
        with pytest.raises(ValueError, match="Invalid events"):
            selector.modify(near, events)
        assert selector.get_key(near).events == READ
