"""The background thread of an embedded server, for tests and demonstrations. The server itself knows no thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["ServerThread"]


class ServerThread:
    """Runs `target` in a thread; `join` waits for its end and raises its exception."""

    def __init__(self, target: Callable[[], None]) -> None:
        self._target = target
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="rankmux-server", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until `target` has returned."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._target()
        except BaseException as error:  # noqa: BLE001 raised again by join
            self._error = error
