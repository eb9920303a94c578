"""Client sessions in each state, fed with frames, for the tests of the code without I/O."""

from __future__ import annotations

from collections.abc import Iterable

from rankmux.codes import NO_RANK
from rankmux.core.client.decoder import FrameDecoder
from rankmux.core.client.events import CommandsReceived, Ended, ExecuteReceived, ResultsRouted
from rankmux.core.client.results import RoutedResult
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


def flat(events: Iterable[object]) -> list[object]:
    """The events, one for each command and each result."""
    return [one for event in events for one in _each(event)]


def _each(event: object) -> list[object]:
    match event:
        case CommandsReceived():
            return list(event.commands)
        case ResultsRouted():
            return [routed(event.id, result) for result in event.results]
        case _:
            return [event]


def taken(decoder: FrameDecoder, data: bytes) -> tuple[list[tuple[int, bytes]], ProtocolViolation | None]:
    """The frames that are whole with `data`, and the violation after them."""
    frames = []
    decoder.feed(data)
    try:
        while decoder.next_type() is not None:
            frames.append(decoder.frame())
    except ProtocolViolation as error:
        return frames, error
    return frames, None


def arrived(*commands: ExecuteReceived) -> CommandsReceived:
    return CommandsReceived(list(commands), sum(len(command.payload) for command in commands))


def routed(id_: int, *results: RoutedResult) -> ResultsRouted:
    return ResultsRouted(id_, list(results), sum(len(result.payload) for result in results))


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
