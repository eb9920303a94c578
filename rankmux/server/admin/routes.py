"""The paths of the admin endpoint: health, metrics, members, closes and the page. Long answers are built in steps.

Rows and metrics are cached for a fraction of a second, so that many readers cost as much as one. Knows no sockets.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Generator, Iterator
from importlib import resources

from .acting import Acting
from .control import Operator
from .http import Answer, Pending, Request, text_answer
from .listing import COUNT_MAX, SORTS, Wish
from .metrics import CONTENT_TYPE, Exposition
from .queries import BadQuery, number
from .status import ServerStatus

__all__ = ["Routes", "Work"]

Work = Iterator[Answer | None]
"""Yields None while there is more to do, then the answer."""

_FIGURES = ("/metrics", "/healthz", "/readyz")
_JSON = "application/json"
_FRESH_S = 0.25
_KEPT_MAX = 16
_CLOSES = 100
_CLOSES_LIVE = 50
_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)


class Routes:
    """The answers to requests, from `status`; those that act do so on `operator`."""

    def __init__(self, status: ServerStatus, operator: Operator) -> None:
        self._actions = Acting(status, operator).routes
        self._status = status
        self._exposition = Exposition(status)
        self._kept: dict[object, tuple[float, bytes]] = {}
        self._page = _page()
        self._routes: dict[str, Callable[[dict[str, str]], Answer | Work]] = {
            "/": lambda _: self._page,
            "/healthz": lambda _: text_answer(200, "ok"),
            "/readyz": lambda _: self._ready(),
            "/metrics": lambda _: self._metrics(),
            "/room.json": self._room,
            "/closed.json": self._closed,
            "/live.json": self._live,
        }

    def answer(self, request: Request, *, only_figures: bool = False) -> Answer | Work | Pending:
        """The answer, the steps that build it, or what is to be asked for it.

        `only_figures`: health and metrics, nothing that names a member.
        """
        if only_figures and request.path not in _FIGURES:
            return text_answer(404, f"not found; the paths are {' '.join(_FIGURES)}")
        route, action = self._routes.get(request.path), self._actions.get(request.path)
        try:
            if request.method == "POST" and action is not None:
                return action(request.query)
            if request.method == "GET" and route is not None:
                return route(request.query)
        except BadQuery as error:
            return text_answer(400, str(error))

        if route is None and action is None:
            return text_answer(404, f"not found; the paths are {' '.join([*self._routes, *self._actions])}")
        allowed = b"POST" if route is None else b"GET, HEAD"
        return text_answer(405, f"only {allowed.decode()} is supported here", (b"Allow", allowed))

    def _ready(self) -> Answer:
        return text_answer(200, "ready") if self._status.ready else text_answer(503, self._status.state)

    def _metrics(self) -> Answer:
        body = self._get("metrics")
        if body is None:
            body = self._keep("metrics", self._exposition.text())
        return Answer(200, CONTENT_TYPE, body)

    def _room(self, query: dict[str, str]) -> Work:
        return self._room_in_steps(_wish(query, COUNT_MAX))

    def _room_in_steps(self, wish: Wish) -> Work:
        status = self._status
        head = {
            "instance": f"{status.instance:016x}",
            "seq": status.room.seq,
            "total": len(status.room),
            "seats": status.config.seats,
            "first": wish.first,
            "sort": wish.sort,
        }
        rows = yield from self._rows(wish)
        yield Answer(200, _JSON, _dump(head)[:-1] + b',"members":' + rows + b"}")

    def _live(self, query: dict[str, str]) -> Work:
        after, closed_after = number(query, "after", 0), number(query, "closed_after", 0)
        return self._live_in_steps(_wish(query, 0), after, closed_after)

    def _live_in_steps(self, wish: Wish, after: int, closed_after: int) -> Work:
        """The page's periodic request: rows, totals, and the events and closes after two numbers."""
        status = self._status
        rows = yield from self._rows(wish)
        closed = status.connections.closes.counts.total()
        news = {
            "totals": status.totals(),
            "first": wish.first,
            "happened": status.stats.happened,
            "events": status.events(after),
            "closed": closed,
            "closes": status.closes(min(max(0, closed - closed_after), _CLOSES_LIVE)),
        }
        yield Answer(200, _JSON, _dump(news)[:-1] + b',"members":' + rows + b"}")

    def _closed(self, query: dict[str, str]) -> Answer:
        counts = self._status.connections.closes.counts
        closes = self._status.closes(min(number(query, "count", _CLOSES), COUNT_MAX))
        by_reason = {reason.value: count for reason, count in counts.most_common()}
        return Answer(200, _JSON, _dump({"total": counts.total(), "by_reason": by_reason, "last": closes}))

    def _rows(self, wish: Wish) -> Generator[None, None, bytes]:
        """The list of members as JSON, and behind it the key `found`."""
        kept = self._get(wish.key)
        if kept is not None:
            return kept
        listing = self._status.members(wish)
        slices: list[bytes] = []
        for step, rows in enumerate(listing):
            if step:
                yield
            if rows:
                slices.append(_dump(rows)[1:-1])
        return self._keep(wish.key, b'[%b],"found":%d' % (b",".join(slices), listing.found))

    def _get(self, key: object) -> bytes | None:
        until, body = self._kept.get(key, (0.0, b""))
        return body if self._status.clock() < until else None

    def _keep(self, key: object, body: bytes) -> bytes:
        if len(self._kept) >= _KEPT_MAX:
            self._kept.clear()
        self._kept[key] = (self._status.clock() + _FRESH_S, body)
        return body


def _wish(query: dict[str, str], count: int) -> Wish:
    sort = query.get("sort", "rank")
    if sort not in SORTS:
        raise BadQuery(f"sort: expected one of {' '.join(SORTS)}")
    first, reverse = number(query, "first", 0), bool(number(query, "reverse", 0))
    return Wish(first, number(query, "count", count), sort, query.get("find", ""), reverse=reverse)


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _page() -> Answer:
    """The page, with a policy that allows its own script and style and requests to this server, nothing else."""
    body = resources.files(__package__).joinpath("page.html").read_bytes()
    policy = (
        f"default-src 'none'; script-src {_hashes(_SCRIPT, body)}; style-src {_hashes(_STYLE, body)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Answer(200, "text/html; charset=utf-8", body, ((b"Content-Security-Policy", policy.encode()),))


def _hashes(pattern: re.Pattern[bytes], body: bytes) -> str:
    digests = [base64.b64encode(hashlib.sha256(text).digest()).decode() for text in pattern.findall(body)]
    return " ".join(f"'sha256-{digest}'" for digest in digests)
