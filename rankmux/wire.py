"""The frames of the protocol, version 1 (PROTOCOL sections 2 to 10), for programs that speak it without a client."""

from __future__ import annotations

from .core.wire.frames import *  # noqa: F403
from .core.wire.frames import __all__ as __all__  # noqa: PLC0414
