# The joins of a turn and the places that they get, without a call of Python code for each.

@cython.dataclasses.dataclass
cdef class Join:
    """As `turn.Join`."""

    cdef public int handle
    cdef public str name, address
    cdef public bytes secret
    cdef public uint32_t keep_ms
    cdef public uint64_t last_seq
    cdef public str identity
    secret = b""
    keep_ms = 0
    last_seq = 0
    identity = ""


@cython.dataclasses.dataclass
cdef class Joined:
    """As `turn.Joined`."""

    cdef public int handle
    cdef public uint64_t ticket
    cdef public uint32_t rank
    cdef public uint64_t seq
    cdef public str name
    cdef public uint32_t members, keep_ms
    cdef public bint returned
    cdef public bytes baton
    keep_ms = 0
    returned = False
    baton = b""
