"""The format of token files and of RANKMUX_TOKEN, read the same way by the server and by clients.

UTF-8 text with a token per line, two at most: during rotation the server accepts both, and a client sends the first.
White space around a token (also the CR of a CRLF), blank lines and a byte order mark are not part of it. No error
contains a token.
"""

from __future__ import annotations

import os
import stat

from .core.wire.codes import TOKEN_MAX_BYTES
from .errors import ConfigError
from .system.reasons import file_reason
from .system.small_files import read_small

__all__ = ["TOKENS_MAX", "parse_tokens", "read_token_file"]

TOKENS_MAX = 2
"""The number of tokens valid at once: the old one and its replacement."""

_FILE_MAX_BYTES = 16 * TOKEN_MAX_BYTES
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_token_file(key: str, path: str, *, private: bool, pipes: bool) -> tuple[bytes, ...]:
    """The tokens in the file at `path`, which `key` names. Raises ConfigError.

    `private`: refuse a file that others can read. `pipes`: as of `read_small`.
    """
    try:
        data, status = read_small(path, _FILE_MAX_BYTES, pipes=pipes)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(key, path, f"cannot read the file: {file_reason(error)}") from None
    if private and _exposed(path, status):
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigError(key, path, f"others can read it (mode {mode:04o}); run {_cure(path, status)}")
    return parse_tokens(key, path, data)


def parse_tokens(key: str, value: str, data: bytes) -> tuple[bytes, ...]:
    """The tokens in `data`, the contents of the file or variable that `key` and `value` name. Raises ConfigError."""
    try:
        data.decode()
    except UnicodeDecodeError:
        text = "expected UTF-8 text; encode a binary token, for example with base64"
        raise ConfigError(key, value, text) from None
    if b"\0" in data:
        raise ConfigError(key, value, "expected text without NUL bytes")
    lines = (line.strip() for line in data.removeprefix(_BYTE_ORDER_MARK).splitlines())
    tokens = tuple(line for line in lines if line)
    if not tokens:
        blank = "there is no token in it, only white space"
        raise ConfigError(key, value, blank if data else "it is empty; write the token into it")
    if len(tokens) > TOKENS_MAX:
        raise ConfigError(key, value, f"expected 1 or {TOKENS_MAX} tokens, one per line, found {len(tokens)}")
    if max(map(len, tokens)) > TOKEN_MAX_BYTES:
        raise ConfigError(key, value, f"expected tokens of at most {TOKEN_MAX_BYTES} bytes")
    return tokens


def _exposed(path: str, status: os.stat_result) -> bool:
    """Whether other users can read the file.

    A group may read it if it is a group of ours and root decided so: that is how Kubernetes mounts a secret for
    `fsGroup`. systemd's credentials carry an access control list, which looks like a group's permission; only this
    service can see them. Any other list is refused, for it may name other users.
    """
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o077:
        return False
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep):
        return False
    return status.st_mode & 0o037 != 0 or not _granted_by_root(status) or _has_list(path)


def _granted_by_root(status: os.stat_result) -> bool:
    return status.st_uid == 0 and status.st_gid in {os.getegid(), *os.getgroups()}


def _has_list(path: str) -> bool:
    """Whether the file has an access control list."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except (OSError, AttributeError):  # none, or a system without them
        return False


def _cure(path: str, status: os.stat_result) -> str:
    from shlex import quote

    if status.st_uid == os.geteuid():
        return f"chmod 600 {quote(path)}"
    if _granted_by_root(status) and not _has_list(path):
        return f"chmod 440 {quote(path)}"
    return f"chown {os.geteuid()} {quote(path)} and chmod 600 {quote(path)}"
