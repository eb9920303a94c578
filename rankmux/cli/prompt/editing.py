"""Line-editing aids: private history and completion.

It knows no connection: a callable lists the members.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from ...core.wire.frames import MemberInfo
from ...errors import ArgumentError
from ...system.printable import escaped
from ..shared.targets import target_of

__all__ = ["HISTORY_VARIABLE", "MEANT", "SLASH", "Completing", "history"]

HISTORY_VARIABLE = "RANKMUX_HISTORY"
"""Environment variable with the file of the history; empty for none."""
SLASH = {"/who": "list the members", "/help": "explain the prompt", "/quit": "leave"}
"""Commands to the prompt itself."""
MEANT = {"who": "/who", "help": "/help", "?": "/help", "quit": "/quit", "exit": "/quit"}
"""Lines that are commands for others like any other, and those to the prompt that were probably meant."""

_HISTORY_MAX_BYTES = 1024 * 1024
_OFFERED_MAX = 100
_TARGETS = {"@all": "all below", "@next": "directly below", "@least": "least loaded"}


class _Kept(FileHistory):
    """A history whose file may become unusable at any time; lines that begin with a space are not kept in it."""

    def store_string(self, string: str) -> None:
        if not string.startswith(" "):
            with suppress(OSError):
                super().store_string(string)


def history(wanted: bool) -> History:
    """The history in the file that the environment names, of mode 0600; in memory if unwanted or not possible."""
    path = os.environ.get(HISTORY_VARIABLE)
    if not wanted or path == "":
        return InMemoryHistory()
    try:
        kept = Path(path) if path else _default()
        _prepare(kept)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return InMemoryHistory()
    return _Kept(kept)


def _default() -> Path:
    states = Path(os.environ.get("XDG_STATE_HOME", ""))  # one that is not absolute does not count
    return (states if states.is_absolute() else Path("~/.local/state").expanduser()) / "rankmux" / "history"


def _prepare(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
        os.fchmod(file.fileno(), 0o600)
        if file.seek(0, os.SEEK_END) > _HISTORY_MAX_BYTES:  # keep the later half, from the next entry on
            file.seek(-_HISTORY_MAX_BYTES // 2, os.SEEK_END)
            kept = file.read().partition(b"\n\n")[2]
            file.seek(0)
            file.truncate()
            file.write(kept)


class Completing(Completer):
    """Completes targets, by rank or name, commands to the prompt, and earlier commands."""

    def __init__(self, members: Callable[[], Awaitable[list[MemberInfo]]], earlier: History) -> None:
        self._members = members
        self._earlier = earlier

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002
        """Nothing: listing the members takes a while, see `get_completions_async`."""
        return ()

    async def get_completions_async(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002
    ) -> AsyncGenerator[Completion, None]:
        """Completions of the line up to the cursor; `members()` lists those below."""
        line = document.text_before_cursor
        if line.startswith("@") and not line.startswith("@@") and " " not in line:
            below = await self._members()
            found: Iterable[Completion] = _targets(line, below)
        elif line.startswith("/") and not line.startswith("//"):
            found = (_offer(line, word, about) for word, about in SLASH.items() if word.startswith(line))
        else:
            found = self._commands(line)
        for number, completion in enumerate(found):
            if number == _OFFERED_MAX:
                return
            yield completion

    def _commands(self, line: str) -> Iterator[Completion]:
        _target, _, begun = line.partition(" ") if line.startswith("@") else ("", "", line)
        begun = begun.lstrip()
        offered = {begun}
        for entry in map(str.strip, reversed(self._earlier.get_strings())):
            for whole, prefix in ((entry, line), (_command(entry), begun)):
                if prefix and whole.startswith(prefix) and whole not in offered and "\n" not in whole:
                    offered.add(whole)
                    yield _offer(prefix, whole)
                    break


def _command(line: str) -> str:
    """A line without the target in front."""
    return line.partition(" ")[2].lstrip() if line.startswith("@") and not line.startswith("@@") else line


def _offer(begun: str, whole: str, about: str = "") -> Completion:
    return Completion(whole, -len(begun), display_meta=about)


def _targets(begun: str, below: list[MemberInfo]) -> Iterator[Completion]:
    for word, about in _TARGETS.items():
        if word.startswith(begun):
            yield _offer(begun, word + " ", about)
    rows = [(member.rank, member.ticket, member.name) for member in below]
    for rank, ticket, name in rows:
        if f"@{rank}".startswith(begun) and begun != "@":
            yield _offer(begun, f"@{rank} ", escaped(name) or "no name")
        elif f"@{name}".casefold().startswith(begun.casefold()):
            if _means_only(name, ticket, rows):
                yield _offer(begun, f"@{name} ", f"rank {rank}")
            else:
                yield _offer(begun, f"@{rank} ", escaped(name) or "no name")


def _means_only(name: str, ticket: int, rows: list[tuple[int, int, str]]) -> bool:
    """Whether `@NAME` reaches that member alone: unlike its rank, it still does when somebody above has left."""
    if name != escaped(name) or name.startswith("@") or any(map(str.isspace, name)):
        return False
    try:
        found = target_of(name).find(rows, None)
    except ArgumentError:
        return False
    return found.single and found.tickets == (ticket,)
