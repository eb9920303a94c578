"""A short soak, and its judge over samples with and without a trend."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .soak import Sample, Subject, soak


def watched(sample: Callable[[int], Sample]) -> Subject:
    return Subject("it", lambda: 0, "", samples=[sample(minute) for minute in range(40)])


@pytest.mark.parametrize(
    ("sample", "found"),
    [
        (lambda n: Sample(100, 50.0 + n % 7, (30 << 20) + n % 3 * 1000, 9 + n % 2), []),
        (lambda n: Sample(100, 50.0 + n, 30 << 20, 9), ["it: more CPU time"]),
        (lambda n: Sample(100, 50.0, (30 << 20) + n * 200_000 + n % 2 * 9000, 9), ["it: more memory"]),
        (lambda n: Sample(100, 50.0, 30 << 20, 9 + n // 5), ["it: more descriptors"]),
    ],
)
def test_a_trend_is_found(sample: Callable[[int], Sample], found: list[str]) -> None:
    assert watched(sample).faults() == found


@pytest.mark.slow
def test_some_seconds() -> None:
    """All processes are sampled, all servers deliver, and no log has a traceback."""
    subjects, tracebacks = soak(10.0, 1)
    assert tracebacks == []
    assert [subject.name for subject in subjects] == [
        "single",
        *(n + c for n in ("s1", "s2", "s3") for c in ("", "'s courier")),
    ]
    for subject in subjects:
        assert len(subject.samples) > 5
        assert sum(sample.deliveries for sample in subject.samples) > 100
