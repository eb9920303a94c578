"""Settings of the courier: where NATS is, and how the log in it is called and kept."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Self
from urllib.parse import urlsplit

__all__ = ["CourierSettings", "shown"]


@dataclass(frozen=True, slots=True)
class CourierSettings:
    """All that the courier is told; it has no other source.

    `urls` of NATS servers are `nats://HOST:PORT` or `tls://HOST:PORT`, each perhaps with `USER:PASSWORD@` or `TOKEN@`.
    Only these are used, not those that NATS announces. TLS is demanded where a URL or a `tls_` setting speaks of it.
    `max_bytes` is for a log that is made now; one that exists may have another.
    """

    urls: tuple[str, ...] = field(repr=False)
    room: str = "main"
    server_name: str = ""
    replicas: int = 3
    creds: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    max_bytes: int = 1 << 30

    @property
    def stream(self) -> str:
        """The name of the stream that holds the log."""
        return f"RM_{self.room}"

    @property
    def subject(self) -> str:
        """The one subject of that stream."""
        return f"rmx.{self.room}.log"

    @property
    def bucket(self) -> str:
        """The name of the object store that holds the snapshots."""
        return f"rmx_{self.room}"

    @property
    def uses_tls(self) -> bool:
        """Whether a connection without TLS is refused."""
        return bool(self.tls_ca or self.tls_cert) or any(url.startswith("tls://") for url in self.urls)

    def pack(self) -> bytes:
        """As bytes, for `unpack`."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """The settings that were packed."""
        values = json.loads(data)
        values["urls"] = tuple(values["urls"])
        return cls(**values)


def shown(url: str) -> str:
    """Host and port of a URL, without its user and password."""
    return urlsplit(url if "://" in url else f"nats://{url}").netloc.rpartition("@")[2]
