"""The worst case of a server's memory, computed from its settings: the formula of docs/reliability.md ("Memory")."""

from __future__ import annotations

from rankmux.config import Config

__all__ = ["most_bytes", "most_bytes_of_tls"]

_CONNECTION_BYTES = 1024
_FRAME_HEAD_BYTES = 64
_RESULT_BYTES = 9
_COMMAND_BYTES = 500
_KEEP_BYTES = 400
_TLS_BYTES = 96 << 10
_CERTIFICATES_BYTES = 128 << 10


def most_bytes(config: Config, single: int) -> int:
    """The bytes that a server may use in addition to those of the interpreter and the code.

    `single` is the size of the data that is queued for one member only.
    """
    c = config
    return (
        (c.seats + c.greeting_max + c.observers_max) * _CONNECTION_BYTES
        + c.seats * (c.max_payload + _FRAME_HEAD_BYTES + c.read_budget_bytes)
        + min(c.outboxes_total_bytes, c.outbox_hard_bytes + single)
        + 4 * (c.turn_budget_bytes + c.max_payload)
        + _RESULT_BYTES * c.waiting_total_max
        + c.seats * c.waiting_max * _COMMAND_BYTES
        + c.seats * _KEEP_BYTES
        + c.max_payload
        + most_bytes_of_tls(c)
    )


def most_bytes_of_tls(config: Config) -> int:
    """Of these, the bytes that only a server with TLS uses."""
    c = config
    return (
        bool(c.tls_cert) * (c.seats + c.greeting_max + c.observers_max) * _TLS_BYTES
        + bool(c.tls_client_ca) * c.greeting_max * _CERTIFICATES_BYTES
    )
