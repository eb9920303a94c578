"""The expiry of a certificate, as OpenSSL reads it: by a handshake of the certificate with itself, in memory."""

from __future__ import annotations

import ssl
from contextlib import suppress

from .pem import no_password

__all__ = ["expires_at"]

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which `ssl` has no name for
_STEPS = 8  # more than a handshake takes


def expires_at(certificate: str, key: str) -> float | None:
    """The time, in seconds since the epoch, until which the certificate is valid; None where it cannot be found out.

    `certificate` and `key` are files that `load_cert_chain` has taken before; `key` is empty if it is in the same file.
    """
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.check_hostname = False
    theirs.verify_flags |= ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    try:
        ours.load_cert_chain(certificate, key or None, no_password)
        theirs.load_verify_locations(certificate)  # it vouches for itself
        found = _handshake(ours, theirs).getpeercert()
        return float(ssl.cert_time_to_seconds(str(found["notAfter"]))) if found else None
    except (OSError, ValueError, KeyError):
        return None


def _handshake(ours: ssl.SSLContext, theirs: ssl.SSLContext) -> ssl.SSLObject:
    """The end of the client, when it has accepted the certificate of the other."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server, client = ours.wrap_bio(up, down, server_side=True), theirs.wrap_bio(down, up)
    for _ in range(_STEPS):
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            return client
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
    raise ValueError("the handshake does not end")
