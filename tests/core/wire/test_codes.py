"""The numbers on the wire equal those of the protocol specification."""

from __future__ import annotations

from rankmux import codes


def test_frame_types():
    client = {"HELLO": 1, "COMMAND": 2, "RESULT": 3, "CANCEL": 4, "WHO": 5, "LEAVE": 8, "YIELD": 9}
    client |= {"SET_BATON": 10}
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
        "STOP": 0x8A,
        "YIELDED": 0x8B,
        "BATON": 0x8C,
        "CHANGED": 0x8D,
    }
    assert {t.name: t.value for t in codes.FrameType} == client | both | server
    assert {t.name: t.value for t in codes.CLIENT_FRAMES} == client | both
    assert {t.name: t.value for t in codes.SERVER_FRAMES} == both | server


def test_the_other_numbers():
    assert [(t.value, t.name) for t in codes.Target] == list(
        enumerate(("ALL", "ONE", "NEXT", "LEAST", "SET"))
    )
    assert {f.name: f.value for f in codes.CommandFlag} == {"RESULTS": 1, "QUIET": 2, "TIED": 4}
    assert {f.name: f.value for f in codes.HelloFlag} == {"OBSERVE": 1, "WATCH": 2}
    assert {f.name: f.value for f in codes.ExecuteFlag} == {"RESULT_WANTED": 1}
    statuses = {"OK": 0, "FAILED": 1, "REJECTED": 2, "EXPIRED": 3, "LEFT": 4, "CANCELLED": 5, "PART": 16}
    assert {s.name: s.value for s in codes.Status} == statuses
    assert {0, 1, 2, 16} == codes.CLIENT_STATUSES
    assert [(c.value, c.name) for c in codes.Cause] == list(
        enumerate(("LEFT", "LOST", "EVICTED", "YIELDED"), 1)
    )
    changes = "JOINED LEFT LOST EVICTED ABSENT BACK YIELDED"
    assert [(c.value, c.name) for c in codes.Change] == list(enumerate(changes.split(), 1))
    assert [(p.value, p.name) for p in codes.Presence] == [(0, "PRESENT"), (1, "ABSENT")]


def test_codes_of_refusals_and_errors():
    refused = "NO_TARGET NOT_LOWER NO_SUCH_RANK BUSY DUPLICATE TOO_BIG ABSENT NOT_FIRST"
    assert [(c.value, c.name) for c in codes.RefusedCode] == list(enumerate(refused.split(), 1))
    ended = "PROTOCOL TOO_BIG UNSUPPORTED AUTH FULL TIMEOUT SLOW SHUTDOWN RESOURCE KICKED INTERNAL TAKEN_OVER"
    assert [(c.value, c.name) for c in codes.ErrorCode] == list(enumerate(ended.split(), 1))


def test_limits():
    assert (codes.VERSION, codes.DEFAULT_PORT) == (1, 7117)
    assert (codes.DEFAULT_MAX_PAYLOAD, codes.FRAME_OVERHEAD) == (65_536, 64)
    assert (codes.NAME_MAX_BYTES, codes.TOKEN_MAX_BYTES, codes.PING_MAX_BYTES) == (64, 1024, 64)
    assert (codes.SECRET_MIN_BYTES, codes.SECRET_MAX_BYTES, codes.NO_RANK) == (16, 32, 0xFFFF_FFFF)
