"""Every number of the protocol."""

from .core.wire.codes import *  # noqa: F403
from .core.wire.codes import __all__ as __all__  # noqa: PLC0414
