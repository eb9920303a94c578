"""The check that the system's limit of open files allows a connection for each seat and each observer."""

from __future__ import annotations

import resource

from ..config import Config
from ..errors import ConfigError
from ..system.open_files import RESERVED_FILES

__all__ = ["check_file_limit"]


def check_file_limit(config: Config) -> None:
    """Compare with the hard limit. Raises ConfigError, with the number that is possible."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most, seats, observers = hard - RESERVED_FILES, config.seats, config.observers_max
    if config.cluster:
        # The seats are those of all servers; one that has no more descriptors sends clients elsewhere.
        seats = 1
    if hard == resource.RLIM_INFINITY or seats + observers <= most:
        return
    why = f"the system allows {hard} open files"
    if observers >= most:  # no number of seats would do
        raise ConfigError("observers_max", observers, f"expected at most {most - 1}: {why}")
    beside = f" beside {observers} observers" if observers else ""
    raise ConfigError("seats", seats, f"expected at most {most - observers}{beside}: {why}")
