"""The life of a connection as a table: legal steps, illegal steps that change nothing, states."""

from __future__ import annotations

import itertools
import socket
from contextlib import closing

import pytest

from rankmux.errors import StateError
from rankmux.server.connections.connection import Connection
from rankmux.server.connections.states import STEPS, State, Step
from rankmux.server.sockets.transport import PlainSocket

ROADS: dict[State, tuple[Step, ...]] = {
    State.HANDSHAKE: (),
    State.GREETING: (Step.SECURE,),
    State.JOINING: (Step.SECURE, Step.HELLO),
    State.MEMBER: (Step.SECURE, Step.HELLO, Step.SEAT),
    State.OBSERVER: (Step.SECURE, Step.HELLO, Step.OBSERVE),
    State.BROKEN: (Step.SECURE, Step.HELLO, Step.SEAT, Step.BREAK),
    State.ENDED: (Step.END,),
    State.ENDING: (Step.END, Step.FAREWELL),
    State.LINGERING: (Step.END, Step.FAREWELL, Step.FLUSH),
    State.DEAD: (Step.END, Step.DROP),
}
LEGAL = {
    (State.HANDSHAKE, Step.SECURE): State.GREETING,
    (State.GREETING, Step.HELLO): State.JOINING,
    (State.JOINING, Step.SEAT): State.MEMBER,
    (State.JOINING, Step.OBSERVE): State.OBSERVER,
    (State.MEMBER, Step.BREAK): State.BROKEN,
    (State.ENDED, Step.FAREWELL): State.ENDING,
    (State.ENDING, Step.FLUSH): State.LINGERING,
    **{(state, Step.END): State.ENDED for state in list(State)[:6]},
    **{(state, Step.DROP): State.DEAD for state in (State.ENDED, State.ENDING, State.LINGERING)},
}


class Secured(PlainSocket):
    """A transport with a handshake before it."""

    handshaking = True


def connection(state: State) -> Connection:
    with closing(Secured(socket.AF_INET)) as transport:
        made = Connection(transport, 7, "127.0.0.1:5000", 1.0)
    for step in ROADS[state]:
        made.step(step)
    assert made.state is state
    return made


@pytest.mark.parametrize(
    ("state", "step"), list(itertools.product(State, Step)), ids=lambda value: value.name
)
def test_the_table(state: State, step: Step) -> None:
    one = connection(state)
    if (state, step) in LEGAL:
        one.step(step)
        assert one.state is LEGAL[state, step]
        return
    with pytest.raises(StateError) as caught:
        one.step(step)
    assert one.state is state
    assert (caught.value.step, caught.value.state) == (step.value, state.value)


def test_every_state_can_be_reached_and_ends_dead() -> None:
    reached = {State.HANDSHAKE} | {following for _, following in STEPS.values()}
    assert reached == set(State)
    left = {state for legal, _ in STEPS.values() for state in legal}
    assert left == set(State) - {State.DEAD}


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_it_lives_until_it_ends(state: State) -> None:
    assert connection(state).alive == (state in list(State)[:6])


def test_its_key_is_nobody_elses() -> None:
    one = connection(State.GREETING)
    assert one.key == -7
    one.ticket = 3
    assert one.key == 3
