"""The requests that act on the server: kick, drain, set. They come by a Unix socket alone (see `http`)."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import ConfigError
from .control import Operator
from .http import Answer, Pending, text_answer
from .queries import number
from .status import ServerStatus

__all__ = ["Acting"]

_DRAIN_MAX_S = 86_400
_KICK_S = 4.0  # until the log of a cluster has it


class Acting:
    """Carries out requests on `operator`. `routes`: by path, from the query to the answer."""

    def __init__(self, status: ServerStatus, operator: Operator) -> None:
        self._status = status
        self._operator = operator
        self.routes: dict[str, Callable[[dict[str, str]], Answer | Pending]] = {
            "/kick": self._kick,
            "/drain": self._drain,
            "/set": self._set,
        }

    def _kick(self, query: dict[str, str]) -> Answer | Pending:
        if "ticket" not in query:
            return text_answer(400, "which member? expected ?ticket=N, as the list of members shows it")
        ticket = number(query, "ticket", 0, digits=20)
        if not self._status.acts:
            return text_answer(503, f"{self._status.state}; nobody is thrown out now")
        if not self._operator.kick(ticket):
            return text_answer(404, f"no member has ticket {ticket}")
        until = self._status.clock() + _KICK_S
        return lambda: self._kicked(ticket, until)

    def _kicked(self, ticket: int, until: float) -> Answer | None:
        """The answer once it is certain: a server of a cluster may lose its place before the log has the order."""
        if self._operator.is_out(ticket):
            return Answer(204, "text/plain; charset=utf-8", b"")
        if not self._status.acts:
            return text_answer(503, f"{self._status.state}; look whether member {ticket} is still there")
        if self._status.clock() >= until:
            return text_answer(
                503, f"the room's log does not move; member {ticket} is thrown out once it does"
            )
        return None

    def _drain(self, query: dict[str, str]) -> Answer:
        wait_s = min(number(query, "wait_s", 60), _DRAIN_MAX_S)
        owed = self._operator.drain(wait_s)
        return text_answer(202, f"{self._status.state}; results that members owe: {owed}")

    def _set(self, query: dict[str, str]) -> Answer:
        try:
            changed = self._operator.change(query)
        except ConfigError as error:
            return text_answer(409, str(error))
        return text_answer(200, "\n".join(changed) or "no setting has changed")
