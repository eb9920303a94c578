"""Host names as users write them: in the brackets that an address has before a port, or with a port by mistake."""

from __future__ import annotations

from .errors import ConfigError

__all__ = ["bare_host"]


def bare_host(key: str, host: str) -> str:
    """`host` without brackets: `[::1]` is `::1`. Raises ConfigError, which names `key`, if a port follows."""
    inside, bracket, rest = host.removeprefix("[").partition("]")
    if not (bracket and host.startswith("[")):
        inside, rest = host, ""
        if host.count(":") == 1:  # more of them are an IPv6 address
            inside, colon, rest = host.partition(":")
            rest = colon + rest
    if rest.startswith(":"):
        raise ConfigError(key, host, "expected a host without a port, which has a setting of its own")
    return inside + rest
