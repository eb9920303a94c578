"""The numbers on the wire equal those of the protocol specification."""

from __future__ import annotations

from rankmux import codes


def test_frame_types():
    client = {"HELLO": 1, "COMMAND": 2, "RESULT": 3, "WHO": 5, "LEAVE": 8}
    both = {"PING": 6, "PONG": 7}
    server = {
        "WELCOME": 0x81,
        "EXECUTE": 0x82,
        "RANK": 0x83,
        "ACCEPTED": 0x84,
        "REFUSED": 0x85,
        "ROUTED": 0x86,
        "DONE": 0x87,
        "MEMBERS": 0x88,
        "ERROR": 0x89,
    }
    assert {t.name: t.value for t in codes.FrameType} == client | both | server
    assert {t.name: t.value for t in codes.CLIENT_FRAMES} == client | both
    assert {t.name: t.value for t in codes.SERVER_FRAMES} == both | server


def test_the_other_numbers():
    assert [(t.name, t.value) for t in codes.Target] == [("ALL", 0), ("ONE", 1), ("NEXT", 2), ("LEAST", 3)]
    assert (codes.CommandFlag.RESULTS, codes.CommandFlag.QUIET, codes.ExecuteFlag.RESULT_WANTED) == (1, 2, 1)
    statuses = {"OK": 0, "FAILED": 1, "REJECTED": 2, "EXPIRED": 3, "LEFT": 4, "PART": 16}
    assert {s.name: s.value for s in codes.Status} == statuses
    assert {0, 1, 2, 16} == codes.CLIENT_STATUSES
    assert [(c.name, c.value) for c in codes.Cause] == [("LEFT", 1), ("LOST", 2), ("EVICTED", 3)]


def test_codes_of_refusals_and_errors():
    refused = "NO_TARGET NOT_LOWER NO_SUCH_RANK BUSY DUPLICATE TOO_BIG"
    assert [(c.value, c.name) for c in codes.RefusedCode] == list(enumerate(refused.split(), 1))
    ended = "PROTOCOL TOO_BIG UNSUPPORTED AUTH FULL TIMEOUT SLOW SHUTDOWN RESOURCE KICKED INTERNAL"
    assert [(c.value, c.name) for c in codes.ErrorCode] == list(enumerate(ended.split(), 1))


def test_limits():
    assert (codes.VERSION, codes.DEFAULT_PORT) == (1, 7117)
    assert (codes.DEFAULT_MAX_PAYLOAD, codes.FRAME_OVERHEAD) == (65_536, 64)
    assert (codes.NAME_MAX_BYTES, codes.TOKEN_MAX_BYTES, codes.PING_MAX_BYTES) == (64, 1024, 64)
