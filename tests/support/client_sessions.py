"""Client sessions in each state, fed with frames, for the tests of the code without I/O."""

from __future__ import annotations

from rankmux.codes import NO_RANK
from rankmux.core.client.events import Ended
from rankmux.core.client.session import ClientSession, ClientState
from rankmux.errors import ProtocolViolation
from rankmux.wire import Welcome

WELCOME = Welcome(
    instance=9, ticket=3, seq=11, rank=2, members=3, capacity=10, max_payload=65536, ping_ms=10_000
)


def joined(rank: int = 2, members: int = 3, max_payload: int = 65536, **options: int) -> ClientSession:
    session = ClientSession("ada", **options)
    session.data_to_send()
    session.receive_data(
        WELCOME._replace(rank=rank, members=members, max_payload=max_payload, capacity=1000).encode()
    )
    assert session.state is ClientState.JOINED
    session.events()
    return session


def observing(**options: bool) -> ClientSession:
    session = ClientSession("ada", observe=True, **options)
    session.data_to_send()
    session.receive_data(WELCOME._replace(ticket=0, rank=NO_RANK).encode())
    session.events()
    return session


def feed(session: ClientSession, *frames: object) -> list[object]:
    session.receive_data(b"".join(frame.encode() for frame in frames))
    return list(session.events())


def violation(session: ClientSession) -> ProtocolViolation:
    """The session has ended, and only because of a fault of the server."""
    *_, last = session.events()
    assert isinstance(last, Ended)
    assert isinstance(last.error, ProtocolViolation)
    assert session.state is ClientState.ENDED
    assert session.seat.rank is None
    return last.error


def awaiting() -> ClientSession:
    return ClientSession()


def leaving() -> ClientSession:
    session = joined()
    session.send_leave()
    return session


def ended() -> ClientSession:
    session = joined()
    session.receive_eof()
    return session


def snapshot(session: ClientSession) -> tuple[object, ...]:
    return (
        session.state,
        session.seat.rank,
        tuple(session._pending._commands),
        tuple(session._pending._who),
        list(session._pending._pings),
        bytes(session._output),
        list(session._events),
        session.seat.seq,
    )
