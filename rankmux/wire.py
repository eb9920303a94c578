"""Every frame of the protocol, for code that speaks it on its own."""

from .core.wire.frames import *  # noqa: F403
from .core.wire.frames import __all__ as __all__  # noqa: PLC0414
