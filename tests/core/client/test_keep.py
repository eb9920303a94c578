"""A seat that is kept: its deadline, its PINGs, the results that are sent again, and the end of it."""

from __future__ import annotations

import pytest

import rankmux.core.client.keep
from rankmux.codes import ErrorCode, Status
from rankmux.core.client.events import Ended, SeatAbsent, SeatLost, SeatReturned
from rankmux.core.client.keep import KeptSeat, SeatState
from rankmux.core.client.keepalive import Keepalive
from rankmux.core.client.session import ClientSession
from rankmux.errors import ConnectionLost
from rankmux.wire import ErrorFrame, Execute, Keep, Ping, Pong, Result, Yielded

from ...support.client_sessions import WELCOME, feed, violation

SECRET = bytes(range(16))
PLAIN = WELCOME._replace(keep_ms=60_000)
BACK = PLAIN._replace(returned=True)


class Scene:
    """A seat that is kept for 60 s, its present session, and a clock that the test moves."""

    def __init__(self, **welcome: object) -> None:
        self.now_s = 100.0
        self.kept = KeptSeat(60_000, SECRET, lambda: self.now_s)
        self.events: list[object] = []
        self.connect(PLAIN._replace(**welcome))

    def connect(self, welcome: object) -> None:
        self.session = ClientSession(kept=self.kept)
        self.hello = self.session.data_to_send()
        self.keepalive = Keepalive(self.session, lambda: self.now_s)
        self.feed(welcome)

    def feed(self, *frames: object) -> list[object]:
        events = feed(self.session, *frames)
        self.events += events
        return events

    def lose(self, reason: str = "gone") -> list[object]:
        self.session.receive_eof(reason)
        return self.session.events()

    def sent(self) -> bytes:
        return self.session.data_to_send()


def test_the_resume_block_of_hello():
    scene = Scene()
    assert scene.hello.endswith(Keep(60_000, 0, SECRET).encode())
    scene.feed(Execute(12, 0, 1, 0, b"x"), Execute(15, 0, 1, 0, b"x"))
    scene.lose()
    scene.connect(BACK._replace(seq=20))
    assert scene.hello.endswith(Keep(60_000, 15, SECRET).encode())
    assert SECRET.hex() not in repr(scene.kept)


def test_the_deadline_is_that_of_the_last_sign_of_life_that_was_answered():
    scene = Scene()
    assert scene.kept.deadline_s == 160.0, "HELLO was one"
    scene.now_s = 110.0
    scene.session.send_ping()
    scene.now_s = 120.0
    scene.session.send_ping(b"2")
    assert scene.kept.deadline_s == 160.0
    scene.now_s = 130.0
    scene.feed(Pong(b""))
    assert scene.kept.deadline_s == 170.0
    scene.feed(Pong(b"2"))
    assert scene.kept.deadline_s == 180.0


def test_unanswered_pings_without_number_take_no_memory_and_no_deadline_forward():
    scene = Scene()
    for _ in range(1000):
        scene.now_s += 0.01
        scene.session._output.clear()
        scene.session.try_ping()
    assert len(scene.kept._marks) <= 16
    latest_s = scene.now_s
    scene.feed(*[Pong(b"")] * 1000)
    assert scene.kept.deadline_s == latest_s + 60


def test_it_pings_every_third_of_the_keep_even_while_bytes_come():
    scene = Scene()
    pings = 0
    for _ in range(60):
        scene.now_s += 1.0
        scene.keepalive.heard()
        scene.keepalive.check_keep()
        pings += scene.sent().count(Ping(b"").encode())
    assert pings == 3
    assert scene.kept.state is SeatState.ABSENT, "none was answered"


def test_no_rank_after_the_deadline_while_the_connection_looks_open():
    scene = Scene()
    scene.now_s = 159.9
    scene.session.send_ping(b"late")
    assert scene.kept.holds
    scene.now_s = 160.0
    assert not scene.kept.holds
    scene.keepalive.check_keep()
    scene.keepalive.check_keep()
    (absent,) = scene.session.events()
    assert isinstance(absent, SeatAbsent)
    assert scene.kept.state is SeatState.ABSENT
    assert not scene.kept.holds_ticket(3)
    assert scene.feed(Pong(b"late")) == [SeatReturned(2)]
    assert scene.kept.holds
    assert scene.kept.holds_ticket(3)


def test_a_loss_a_return_and_a_new_seat():
    scene = Scene()
    absent, ended = scene.lose()
    assert isinstance(absent, SeatAbsent)
    assert ended == Ended(absent.error, kept=True)
    assert (scene.kept.ticket, scene.kept.state) == (3, SeatState.ABSENT)
    assert scene.kept.holds_ticket(3)
    scene.connect(BACK._replace(rank=1))
    assert SeatReturned(1) in scene.events
    scene.lose()
    scene.connect(PLAIN._replace(ticket=9))
    assert SeatLost(3) in scene.events
    assert scene.kept.ticket == 9


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_error_but_shutdown_ends_the_seat(code):
    scene = Scene()
    *_, event, ended = scene.feed(ErrorFrame(code, "no"))
    if code is ErrorCode.SHUTDOWN:
        assert isinstance(event, SeatAbsent)
        assert ended.kept
    else:
        assert event == SeatLost(3)
        assert not ended.kept
        assert scene.kept.ticket is None


def test_leaving_gives_it_up():
    scene = Scene()
    scene.session.send_leave()
    assert scene.lose() == [Ended(None)]
    assert (scene.kept.ticket, scene.kept.deadline_s) == (None, None)


def test_a_server_that_keeps_nothing():
    scene = Scene(keep_ms=0)
    assert scene.kept.holds
    assert scene.kept.patience_s() is None
    (ended,) = scene.lose()
    assert isinstance(ended.error, ConnectionLost)
    assert not ended.kept


def test_final_results_since_the_last_answered_ping_are_sent_again():
    scene = Scene()
    scene.session.send_result(12, Status.OK, b"arrived")
    scene.session.send_ping(b"1")
    scene.session.send_result(13, Status.PART, b"a part")
    scene.session.send_result(13, Status.OK, b"perhaps")
    scene.session.send_ping(b"2")
    scene.session.send_result(14, Status.FAILED, b"perhaps not")
    scene.session.send_command(b"never again", results=True)
    scene.feed(Pong(b"1"))
    scene.lose()
    again = Result(13, Status.OK, b"perhaps").encode() + Result(14, Status.FAILED, b"perhaps not").encode()
    scene.connect(BACK)
    assert scene.sent() == again
    scene.lose()
    scene.connect(BACK)
    assert scene.sent() == again, "nothing has confirmed them yet"
    scene.session.send_ping()
    scene.feed(Pong(b""))
    scene.lose()
    scene.connect(BACK)
    assert scene.sent() == b""


@pytest.mark.parametrize("welcome", [PLAIN._replace(ticket=9), PLAIN, BACK._replace(ticket=9)])
def test_a_new_seat_owes_nothing(welcome):
    """A larger ticket after a return is that of a YIELD whose answer was lost; a new instance may give the same one."""
    scene = Scene()
    scene.session.send_result(12, Status.OK, b"of the seat before")
    generation = scene.kept.generation
    scene.lose()
    scene.connect(welcome)
    assert scene.sent() == b""
    assert scene.kept.generation != generation


def test_results_that_wait_are_bounded_and_confirmed_in_time(monkeypatch):
    monkeypatch.setattr(rankmux.core.client.keep, "_RESULTS_MAX", 10)
    scene = Scene()
    for seq in range(100, 106):
        scene.session.send_result(seq, Status.OK, b"x")
    assert scene.sent().endswith(Ping(b"").encode()), "half of the bound: it asks whether they have arrived"
    for seq in range(106, 200):
        scene.session.send_result(seq, Status.OK, b"x")
    assert scene.sent().count(Ping(b"").encode()) == 0
    assert [seq for seq, *_ in scene.kept.results()] == list(range(190, 200))
    monkeypatch.setattr(rankmux.core.client.keep, "_RESULTS_MAX_BYTES", 100)
    scene.session.send_result(200, Status.OK, bytes(60))
    scene.session.send_result(201, Status.OK, bytes(60))
    assert [seq for seq, *_ in scene.kept.results()] == [201]


def test_a_yield_takes_the_keep_along():
    scene = Scene(ticket=3, rank=0)
    scene.session.send_result(12, Status.OK, b"of the ticket before")
    id_ = scene.session.send_yield()
    scene.feed(Yielded(id_, 20, 8, 2, 3))
    assert scene.kept.ticket == 8
    scene.lose()
    scene.connect(BACK._replace(ticket=8, rank=1, seq=30))
    assert scene.sent() == b""


@pytest.mark.parametrize(
    "welcome", [WELCOME, BACK._replace(ticket=2)], ids=["nothing of the keep", "an older ticket"]
)
def test_a_welcome_that_makes_no_sense(welcome):
    scene = Scene()
    scene.lose()
    scene.session = ClientSession(kept=scene.kept)
    scene.session.receive_data(welcome.encode())
    violation(scene.session)


def test_a_keep_that_was_not_asked_for():
    session = ClientSession()
    session.receive_data(PLAIN.encode())
    violation(session)


def test_no_more_than_was_asked_for_counts():
    assert Scene(keep_ms=4_000_000).kept.keep_s == 60.0
    assert Scene(keep_ms=10_000).kept.deadline_s == 110.0


def test_a_server_that_grants_next_to_nothing_does_not_keep_us_busy():
    scene = Scene(keep_ms=1)
    pings = 0
    for _ in range(1000):
        scene.now_s += 0.001
        pings += scene.kept.ping_due()
    assert 50 <= pings <= 101


def test_an_interrupted_connection_reports_only_its_end():
    scene = Scene()
    scene.session.receive_data(Execute(12, 0, 1, 0, b"perhaps half taken").encode())
    error = ConnectionLost("interrupted")
    absent, ended = scene.session.interrupt(error)
    assert (absent, ended) == (SeatAbsent(error), Ended(error, kept=True))
    assert scene.session.interrupt(error) == [Ended(error, kept=True)]
