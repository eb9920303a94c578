"""Refusals: the code of each reason, and a text that states the numbers."""

from __future__ import annotations

import pytest

from rankmux.codes import FrameType, RefusedCode, Target
from rankmux.core.room.refusals import refusal
from rankmux.wire import Refused


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (RefusedCode.NO_TARGET, "nobody"),
        (RefusedCode.NOT_LOWER, "rank 41 "),
        (RefusedCode.NO_SUCH_RANK, "the last one is 42"),
        (RefusedCode.BUSY, "1024"),
        (RefusedCode.DUPLICATE, "id 7 "),
        (RefusedCode.TOO_BIG, "at most 1024"),
    ],
)
def test_reasons_of_refusals(code, words):
    whole = refusal(7, code, Target.ONE, 41, 43, 2000, 1024)
    assert whole[4] == FrameType.REFUSED
    frame = Refused.decode(whole[5:])
    assert (frame.id, frame.code) == (7, code)
    assert words in frame.text


@pytest.mark.parametrize(
    ("code", "target", "words"),
    [
        (RefusedCode.NO_TARGET, Target.SET, "no ticket in the set"),
        (RefusedCode.NOT_LOWER, Target.SET, "no member of the set"),
        (RefusedCode.ABSENT, Target.SET, "of the set"),
        (RefusedCode.ABSENT, Target.ONE, "rank 41 is absent"),
        (RefusedCode.ABSENT, Target.NEXT, "directly below"),
        (RefusedCode.ABSENT, Target.ALL, "everybody below you is absent"),
        (RefusedCode.ABSENT, Target.LEAST, "everybody below you is absent"),
    ],
)
def test_refusals_name_their_target(code, target, words):
    frame = Refused.decode(refusal(7, code, target, 41, 43, 2000, 1024)[5:])
    assert (frame.id, frame.code) == (7, code)
    assert words in frame.text


def test_the_protocols_example():
    assert (
        refusal(8, RefusedCode.NOT_LOWER, Target.ONE, 2, 5, 0, 0)
        == Refused(8, 2, "rank 2 is not below you").encode()
    )
