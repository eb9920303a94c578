"""The server's TLS context, made from its settings. Errors name the setting and what is wrong with its file."""

from __future__ import annotations

import ssl

from ...config import Config
from ...errors import ConfigError
from ...system.pem import authorities_fault, chain_fault, no_password
from ...system.reasons import file_reason
from ...system.small_files import PEM_MAX_BYTES, check_small

__all__ = ["make_context"]


def make_context(config: Config, *, pipes: bool = False) -> ssl.SSLContext | None:
    """The context for `tls_cert`, None without one. Raises ConfigError for a file that is missing or invalid.

    `pipes`: as of `read_small`.
    """
    if not config.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # Else OpenSSL 3 answers an end of stream without close_notify with an alert, and a half-closed peer gets no more.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    for key, path in (
        ("tls_cert", config.tls_cert),
        ("tls_key", config.tls_key),
        ("tls_client_ca", config.tls_client_ca),
    ):
        if path:
            _readable(key, path, pipes)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key or None, no_password)
    except (OSError, ValueError) as error:
        of_key, fault = chain_fault(config.tls_cert, config.tls_key, error)
        key, path = ("tls_key", config.tls_key) if of_key else ("tls_cert", config.tls_cert)
        raise ConfigError(key, path, fault) from None
    if config.tls_client_ca:
        try:
            context.load_verify_locations(config.tls_client_ca)
        except (OSError, ValueError) as error:
            fault = authorities_fault(config.tls_client_ca, error)
            raise ConfigError("tls_client_ca", config.tls_client_ca, fault) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _readable(key: str, path: str, pipes: bool) -> None:
    """Raise ConfigError for a file that OpenSSL, which reads it, would wait for or not get to the end of."""
    try:
        check_small(path, PEM_MAX_BYTES, pipes=pipes)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(key, path, f"cannot read the file: {file_reason(error)}") from None
