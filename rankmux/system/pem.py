"""The faults of a certificate and its key in PEM files, which OpenSSL tells in words for its own developers.

Knows no setting and no flag.
"""

from __future__ import annotations

import re
import ssl

from .reasons import file_reason
from .small_files import PEM_MAX_BYTES, read_small

__all__ = ["authorities_fault", "chain_fault", "no_password"]

_LABEL = re.compile(rb"^-----BEGIN ([A-Z0-9 ]+)-----", re.MULTILINE)
_ENCRYPTED = "the key is encrypted with a password; decrypt it with openssl pkey -in FILE -out NEWFILE"


class _Encrypted(ValueError):
    """The key wants a password, for which nobody can be asked."""


def no_password() -> str:
    """What OpenSSL calls for the password of a key: it would ask at the terminal. Raises ValueError."""
    raise _Encrypted(_ENCRYPTED)


def chain_fault(certificate: str, key: str, error: Exception) -> tuple[bool, str]:
    """Whether the file `key` is the faulty one, and what is wrong: `load_cert_chain` has raised `error`.

    `key` is empty if the key is in the file `certificate` as well.
    """
    if isinstance(error, _Encrypted):
        return bool(key), _ENCRYPTED
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        of = f"the key of the certificate in {certificate}" if key else "the key of that certificate"
        return bool(key), f"the private key in it is not {of}"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return False, file_reason(error)
    labels = _labels(certificate)
    if labels is not None and b"CERTIFICATE" not in labels:
        return False, f"expected a PEM file with a certificate, found {_found(labels)}"
    labels = _labels(key or certificate)
    if labels is not None and not any(label.endswith(b"PRIVATE KEY") for label in labels):
        if key:
            return True, f"expected a PEM file with a private key, found {_found(labels)}"
        return False, "there is no private key in it; name the file that has it as the key"
    return False, f"expected a PEM file with a certificate, and one with its key: {_words(error)}"


def authorities_fault(path: str, error: Exception) -> str:
    """What is wrong with `path`: `load_verify_locations` has raised `error`."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return file_reason(error)
    labels = _labels(path)
    if labels is not None and b"CERTIFICATE" not in labels:
        return f"expected a PEM file with certificates, found {_found(labels)}"
    return f"expected a PEM file with certificates: {_words(error)}"


def _labels(path: str) -> set[bytes] | None:
    """What the PEM file has in it; None if it cannot be read again."""
    try:
        return set(_LABEL.findall(read_small(path, PEM_MAX_BYTES)[0]))
    except OSError:
        return None


def _found(labels: set[bytes]) -> str:
    return ", ".join(sorted(label.decode().lower() for label in labels)) or "nothing in that format"


def _words(error: Exception) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    if reason in {None, "PEM_LIB", "LIB"}:
        return "it is damaged"
    return str(reason).replace("_", " ").lower()
