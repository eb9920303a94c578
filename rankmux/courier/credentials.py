"""The files with which a server shows itself to NATS: certificates, and credentials. Knows no NATS."""

from __future__ import annotations

import re
import ssl

from ..errors import ConfigError
from ..system.pem import authorities_fault, chain_fault, no_password
from ..system.private_files import exposure
from ..system.reasons import file_reason
from ..system.small_files import PEM_MAX_BYTES, check_small, read_small
from .settings import CourierSettings

__all__ = ["is_seed", "read_credentials", "tls_context"]

_CREDS_MAX_BYTES = 1 << 16


def tls_context(settings: CourierSettings) -> ssl.SSLContext | None:
    """The TLS of the settings, None where they leave it to the server. Raises ConfigError."""
    if not settings.uses_tls:
        return None
    ca, certificate, key = settings.tls_ca, settings.tls_cert, settings.tls_key
    for name, path in (("cluster_tls_ca", ca), ("cluster_tls_cert", certificate), ("cluster_tls_key", key)):
        try:
            if path:
                check_small(path, PEM_MAX_BYTES)
        except (OSError, ValueError) as error:
            raise ConfigError(name, path, f"cannot read the file: {file_reason(error)}") from None
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ValueError) as error:
        raise ConfigError("cluster_tls_ca", ca, authorities_fault(ca, error)) from None
    if certificate:
        try:
            context.load_cert_chain(certificate, key or None, no_password)
        except (OSError, ValueError) as error:
            of_key, fault = chain_fault(certificate, key, error)
            name, path = ("cluster_tls_key", key) if of_key else ("cluster_tls_cert", certificate)
            raise ConfigError(name, path, fault) from None
    return context


def read_credentials(path: str, *, private: bool = False) -> str:
    """The text of a file of credentials: a JWT and a seed, or a seed alone. Raises ConfigError.

    `private`: refuse a file that others can read.
    """
    if not path:
        return ""
    try:
        data, status = read_small(path, _CREDS_MAX_BYTES)
        text = data.decode().strip()
    except UnicodeDecodeError:
        raise ConfigError(
            "cluster_creds", path, "expected text: a JWT and an nkey seed, or a seed alone"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError("cluster_creds", path, f"cannot read the file: {file_reason(error)}") from None
    if not is_seed(text):
        for part in ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED"):
            if part not in text:  # nats-py would look for it for ever
                missing = f"it is no nkey seed of a user, and has no line with {part}"
                raise ConfigError("cluster_creds", path, missing)
    if private and (exposed := exposure(path, status)):
        raise ConfigError("cluster_creds", path, exposed)
    return text


def is_seed(text: str) -> bool:
    """Whether it is the nkey seed of a user, without a JWT."""
    return re.fullmatch("SU[A-Z2-7]{56}", text) is not None
