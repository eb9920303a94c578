"""The format of token files and of RANKMUX_TOKEN, read the same way by the server and by clients.

UTF-8 text with a token per line, two at most: during rotation the server accepts both, and a client sends the first.
White space around a token (also the CR of a CRLF), blank lines and a byte order mark are not part of it. No error
contains a token.
"""

from __future__ import annotations

from .core.wire.codes import TOKEN_MAX_BYTES
from .errors import ConfigError
from .system.private_files import exposure
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
    if private and (exposed := exposure(path, status)):
        raise ConfigError(key, path, exposed)
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
