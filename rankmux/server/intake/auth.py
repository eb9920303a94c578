"""Authentication: tokens, certificates, and the addresses that may be listened on without them.

Tokens are kept as digests and compared in constant time; no error, log line or repr contains one. `reload` reads the
same files again, and changes nothing if one of them is broken.
"""

from __future__ import annotations

import hmac
import logging
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_address

from ...config import Config
from ...errors import ConfigError
from ...system.certificate_expiry import expires_at
from ...system.json_lines import tagged
from ...tokens import parse_tokens, read_token_file
from ..sockets.tls import make_context

__all__ = ["Auth", "read_tokens"]

_TOKEN_VARIABLE = "RANKMUX_TOKEN"  # noqa: S105 - the name of the variable, not a token

_SOON_S = 14 * 24 * 3600.0

log = logging.getLogger("rankmux.access")


class Auth:
    """The credentials that a server with `config` accepts; `tokens` come on top of its files. Raises ConfigError.

    `expires_at` is when the certificate expires, in seconds since the epoch; None without one, or if that is unknown.
    """

    __slots__ = ("_config", "_digests", "_tokens", "context", "expires_at")

    def __init__(self, config: Config, tokens: tuple[bytes, ...] = ()) -> None:
        self._config = config
        self._tokens = tokens
        self.expires_at: float | None = None
        self._digests, self.context = self._read(pipes=True)
        self._look_at_expiry()

    def reload(self) -> bool:
        """Read the files again, for new connections. If one is broken, log it, change nothing and return False."""
        try:
            self._digests, self.context = self._read(pipes=False)
        except ConfigError as error:
            text = "reload failed, the previous tokens and certificates stay in use: %s"
            log.error(text, error, extra=tagged("not_reloaded", key=error.key, error=str(error)))
            return False
        tokens, certificates = len(self._digests), self.context is not None
        facts = tagged("reloaded", tokens=tokens, certificates=certificates)
        shown = f"{tokens} token(s)" if tokens else "no tokens"
        log.info(
            "reloaded: %s, %s", shown, "certificates" if certificates else "no certificates", extra=facts
        )
        self._look_at_expiry()
        return True

    def admits(self, token: bytes) -> bool:
        """Whether `token` is valid; takes the same time for any token."""
        if not self._digests:
            return True
        digest = sha256(token).digest()
        matches = sum(hmac.compare_digest(digest, known) for known in self._digests)  # no early exit
        return matches > 0

    def admits_names(self, names: frozenset[str]) -> bool:
        """Whether a client certificate with these `names` may join."""
        allowed = self._config.client_names
        return not allowed or not allowed.isdisjoint(names)

    def check_address(self, address: str) -> None:
        """Raise ConfigError if `address` is not loopback and lacks TLS or authentication."""
        if self._config.insecure or ip_address(address.partition("%")[0]).is_loopback:
            return
        authenticated = bool(self._digests) or bool(
            self.context and self.context.verify_mode == ssl.CERT_REQUIRED
        )
        missing = [] if authenticated else ["a token (token_file) or client certificates (tls_client_ca)"]
        if self.context is None:
            missing.append("TLS (tls_cert)")
        if missing:
            expected = f"not a loopback address; add {' and '.join(missing)}, or set insecure to go without"
            raise ConfigError("host", self._config.host, expected)

    def _look_at_expiry(self) -> None:
        """Note when the certificate expires, and say so if that is soon, or has been."""
        config, now = self._config, time.time()
        self.expires_at = expires_at(config.tls_cert, config.tls_key) if self.context is not None else None
        if self.expires_at is None or self.expires_at - now > _SOON_S:
            return
        day = datetime.fromtimestamp(self.expires_at, UTC).isoformat()
        over = self.expires_at <= now
        text = "the certificate in %s %s at %s%s: replace the file, and send SIGHUP"
        refused = ", and clients refuse it" if over else ""
        facts = tagged("certificate_expires", path=config.tls_cert, expires=day)
        log.warning(text, config.tls_cert, "expired" if over else "expires", day, refused, extra=facts)

    def _read(self, *, pipes: bool) -> tuple[tuple[bytes, ...], ssl.SSLContext | None]:
        """The digests and the context. A pipe has to be waited for, so it is read at the start only."""
        tokens, path = self._tokens, self._config.token_file
        if path:
            tokens += read_token_file("token_file", path, private=True, pipes=pipes)
        return tuple(sha256(token).digest() for token in tokens), make_context(self._config, pipes=pipes)


def read_tokens(config: Config, environ: Mapping[str, str]) -> tuple[bytes, ...]:
    """The tokens in RANKMUX_TOKEN, one per line. Raises ConfigError, also if there is a token file as well."""
    text = environ.get(_TOKEN_VARIABLE)
    if not text:
        return ()
    if config.token_file:
        expected = f"cannot be used together with token_file ({config.token_file})"
        raise ConfigError(_TOKEN_VARIABLE, "(hidden)", expected)
    return parse_tokens(_TOKEN_VARIABLE, "(hidden)", text.encode("utf-8", "surrogateescape"))
