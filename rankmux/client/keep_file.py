"""The file in which a program keeps the secret of its seat, so that it comes back to it after it was started anew.

One program at a time: the file is locked while it is in use. Whoever can read it can take the seat, so it is refused
where others can.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from os import PathLike
from typing import BinaryIO

from ..core.wire.codes import SECRET_MAX_BYTES, SECRET_MIN_BYTES
from ..errors import ArgumentError
from ..system.reasons import file_reason
from .forks import close_in_children

__all__ = ["KeepFile", "new_secret"]

_HEAD = "rankmux-keep 1 "
_FILE_MAX_BYTES = 256
_TRIES = 10


def new_secret() -> bytes:
    """A secret that nobody can guess."""
    return secrets.token_bytes(SECRET_MAX_BYTES)


class KeepFile:
    """The file at `path`, made with a new secret if there is none, and locked until `close`. Raises ArgumentError."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            self._file = self._opened()
        except ArgumentError:
            raise
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            missing = isinstance(error, FileNotFoundError)  # the file itself would be made
            reason = "there is no such directory" if missing else file_reason(error)
            raise ArgumentError("keep_file", self.path, f"it cannot be used: {reason}") from error
        try:
            self.secret = self._read()
        except BaseException:
            self._file.close()
            raise
        close_in_children(self)

    def close(self) -> None:
        """Let other programs use it; a second call does nothing."""
        self._file.close()

    def _opened(self) -> BinaryIO:
        """The file, locked. It never stands there without its secret, or unlocked while it is being made."""
        for _ in range(_TRIES):
            try:
                flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW
                file = os.fdopen(os.open(self.path, flags), "r+b")
            except FileNotFoundError:
                with suppress(FileExistsError):  # another program was faster
                    return self._made()
                continue
            try:
                self._lock(file)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), os.stat(self.path)):
                        return file
            except BaseException:
                file.close()
                raise
            file.close()  # it was replaced meanwhile
        raise ArgumentError("keep_file", self.path, "it is replaced over and over")

    def _made(self) -> BinaryIO:
        draft = f"{self.path}.{secrets.token_hex(8)}"
        file = os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "r+b")
        try:
            self._lock(file)
            file.write(f"{_HEAD}{new_secret().hex()}\n".encode())
            file.flush()
            os.fsync(file.fileno())
            os.link(draft, self.path)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        finally:
            os.unlink(draft)
        return file

    def _lock(self, file: BinaryIO) -> None:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArgumentError("keep_file", self.path, "another program uses it") from None

    def _read(self) -> bytes:
        status = os.fstat(self._file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ArgumentError("keep_file", self.path, "expected a regular file")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise ArgumentError("keep_file", self.path, f"others can use it (mode {mode:04o}); run chmod 600")
        text = self._file.read(_FILE_MAX_BYTES).decode("ascii", "replace")
        with suppress(ValueError):
            secret = bytes.fromhex(text.removeprefix(_HEAD))
            if text.startswith(_HEAD) and SECRET_MIN_BYTES <= len(secret) <= SECRET_MAX_BYTES:
                return secret
        raise ArgumentError("keep_file", self.path, "it is no file of a kept seat; remove it for a new one")
