"""The description of the machine in `--benchmark-json`."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import machine, subjects


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Record the machine and the servers' versions in `--benchmark-json`."""
    machine_info["rankmux_machine"] = machine.facts()
    machine_info["rankmux_servers"] = {
        subject.name: subject.missing() or subject.version() for subject in subjects.ALL if subject.is_ours
    }
