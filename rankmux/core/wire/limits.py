"""The version, the limits and the defaults of the protocol, which cost nothing to import; `codes` hands them on."""

from __future__ import annotations

__all__ = [
    "ADDRESS_MAX_BYTES",
    "DEFAULT_MAX_PAYLOAD",
    "DEFAULT_PORT",
    "FRAME_OVERHEAD",
    "NAME_MAX_BYTES",
    "NO_RANK",
    "PING_MAX_BYTES",
    "SECRET_MAX_BYTES",
    "SECRET_MIN_BYTES",
    "TOKEN_MAX_BYTES",
    "U32_MAX",
    "VERSION",
]

VERSION = 1
DEFAULT_PORT = 7117
DEFAULT_MAX_PAYLOAD = 65_536
FRAME_OVERHEAD = 64  # a frame's length may be at most max_payload + this (section 2)
NAME_MAX_BYTES = 64
ADDRESS_MAX_BYTES = 255  # MEMBERS has one byte for its length
TOKEN_MAX_BYTES = 1024
PING_MAX_BYTES = 64
U32_MAX = 0xFFFF_FFFF
NO_RANK = U32_MAX
"""The rank of an observer in WELCOME (section 8)."""
SECRET_MIN_BYTES, SECRET_MAX_BYTES = 16, 32
"""The secret of a seat that is kept (section 9)."""
