"""Plain `pytest` runs the tests, `pytest --benchmark-only` the benchmarks; what is named runs in any case."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite", action="store_true", help="write the outcomes of tests/core/room/scenes anew"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return None
    benchmarks_only = config.getoption("benchmark_only", default=False)
    unwanted = ROOT / ("tests" if benchmarks_only else "benchmarks")
    return True if unwanted in collection_path.parents else None
