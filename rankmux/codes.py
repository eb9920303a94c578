"""The numbers of the protocol: frame types, flags, statuses, causes and error codes, with the limits and defaults."""

from __future__ import annotations

from .core.wire.codes import *  # noqa: F403
from .core.wire.codes import __all__ as __all__  # noqa: PLC0414
