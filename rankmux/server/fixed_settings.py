"""The settings that cannot change while a server runs, with the reasons, and those that a cluster's servers share.

All others can: by `rankmux-server set`, and by SIGHUP from the configuration file.
"""

from __future__ import annotations

from itertools import chain, repeat

__all__ = ["FIXED", "SHARED"]

_REASONS = {
    "its sockets are open": ("host", "port", "unix", "admin", "admin_unix", "metrics", "insecure"),
    "connections inherit it from the listening socket": ("send_buffer_bytes", "user_timeout_s"),
    "the path is read at the start; SIGHUP reads the file at that path again": (
        "token_file",
        "tls_cert",
        "tls_key",
        "tls_client_ca",
    ),
    "members were told it when they joined": ("max_payload", "ping_ms"),
    "it only matters at the start": ("log_format", "io_uring", "state", "first_ticket"),
    "the server is in its cluster with it": (
        "cluster",
        "room",
        "server_name",
        "cluster_replicas",
        "cluster_creds",
        "cluster_tls_ca",
        "cluster_tls_cert",
        "cluster_tls_key",
        "cluster_fence_s",
        "cluster_down_s",
    ),
}

FIXED: dict[str, str] = dict(chain.from_iterable(zip(names, repeat(why)) for why, names in _REASONS.items()))
"""Why a setting cannot change while the server runs, by its name."""

SHARED = frozenset(
    (
        "seats",
        "max_payload",
        "waiting_max",
        "waiting_total_max",
        "result_ttl_ms",
        "keep_max_s",
        "outbox_soft_bytes",
        "cluster_fence_s",
        "cluster_down_s",
    )
)
"""The settings that must be the same at all servers of a cluster: those of `core.cluster.entries.Rules`."""
