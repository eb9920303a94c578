"""The settings of a server as keyword arguments, for type checkers."""

from __future__ import annotations

from typing import Literal, TypedDict

__all__ = ["ServerSettings"]


class ServerSettings(TypedDict, total=False):
    """The settings of `rankmux.Server`, all optional: `def start(**settings: Unpack[ServerSettings])`.

    Those of `config.Config`, which has their ranges, their defaults and what they mean.
    """

    seats: int
    host: str
    port: int
    unix: str
    insecure: bool
    token_file: str
    tls_cert: str
    tls_key: str
    tls_client_ca: str
    tls_client_names: str
    max_payload: int
    admin: str
    admin_unix: str
    metrics: str
    log_format: Literal["text", "json"]
    log_level: Literal["debug", "info", "warning", "error"]
    greeting_max: int
    greeting_max_per_address: int
    greeting_in_bytes: int
    greeting_out_bytes: int
    handshake_timeout_s: float
    tls_handshake_timeout_s: float
    frame_timeout_s: float
    io_uring: Literal["auto", "never"]
    slow_consumer: Literal["pace", "evict"]
    outbox_soft_bytes: int
    outbox_hard_bytes: int
    outboxes_total_bytes: int
    write_timeout_s: float
    send_buffer_bytes: int
    ping_ms: int
    pings_missed: int
    user_timeout_s: float
    read_budget_bytes: int
    turn_budget_bytes: int
    turn_budget_frames: int
    accept_budget: int
    tls_handshake_budget: int
    keep_max_s: float
    state: str
    observers_max: int
    first_ticket: int
    cluster: str
    room: str
    server_name: str
    cluster_replicas: int
    cluster_creds: str
    cluster_tls_ca: str
    cluster_tls_cert: str
    cluster_tls_key: str
    cluster_fence_s: float
    cluster_down_s: float
    waiting_max: int
    waiting_total_max: int
    result_ttl_ms: int
    drain_s: float
    shutdown_drain_s: float
    log_lines_per_s: int
    log_excerpt_bytes: int
