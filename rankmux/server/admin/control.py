"""The server as its operator acts on it, by way of the admin endpoint. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Operator"]


class Operator(Protocol):
    """The server, as an operator acts on it."""

    def kick(self, ticket: int) -> bool:
        """Throw out the member with that ticket; False when no seat has it."""

    def is_out(self, ticket: int) -> bool:
        """Whether no seat has that ticket any more, or it is certain that none will."""

    def drain(self, wait_s: float) -> int:
        """Admit nobody any more, and stop when members owe no results, or after `wait_s`; the results owed now."""

    def change(self, given: Mapping[str, str]) -> list[str]:
        """Change settings; a line for each that has another value now. Raises ConfigError."""
