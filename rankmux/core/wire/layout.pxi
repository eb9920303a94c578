# The layouts of frames in C: their sizes, their numbers, room for them. `layouts.py` defines them.
#
# All functions here are `inline`: the C compiler puts them into their callers, and no call is left.

# In bytes: the head (length and type), and the bodies of the frames that C code knows, without the payload.
cdef enum:
    LENGTH_BYTES = 4
    HEAD = 5
    COMMAND_BODY = 14
    RESULT_BODY = 9
    EXECUTE_BODY = 17
    ROUTED_BODY = 17
    RANK_BODY = 17
    ACCEPTED_BODY = 24
    DONE_BODY = 28
    BATON_BODY = 4
    TICKET_BYTES = 8  # of each ticket in front of the payload of a COMMAND to SET


cdef int check_size(str name, int expected, int size) except -1:
    """No ImportError: that would silently choose the pure twin."""
    if size != expected:
        raise AssertionError(f"{name}: layout.pxi has {size} bytes, layouts.py {expected}")
    return 0


check_size("LENGTH_BYTES", layouts.LENGTH_BYTES, LENGTH_BYTES)
check_size("HEAD", layouts.HEAD.size, HEAD)
check_size("COMMAND", layouts.COMMAND.size, COMMAND_BODY)
check_size("RESULT", layouts.RESULT.size, RESULT_BODY)
check_size("EXECUTE", layouts.EXECUTE.size, EXECUTE_BODY)
check_size("ROUTED", layouts.ROUTED.size, ROUTED_BODY)
check_size("RANK", layouts.RANK.size, RANK_BODY)
check_size("ACCEPTED", layouts.ACCEPTED.size, ACCEPTED_BODY)
check_size("DONE", layouts.DONE.size, DONE_BODY)
check_size("U32", layouts.U32.size, BATON_BODY)
check_size("TICKET", layouts.TICKET.size, TICKET_BYTES)


# Bytes on the wire are big-endian; compilers make one instruction of each of these. A `put` returns where to go on.

cdef inline uint32_t get_u32(const uint8_t *at) noexcept nogil:
    return (<uint32_t> at[0] << 24) | (<uint32_t> at[1] << 16) | (<uint32_t> at[2] << 8) | at[3]


cdef inline uint64_t get_u64(const uint8_t *at) noexcept nogil:
    return (<uint64_t> get_u32(at) << 32) | get_u32(at + 4)


cdef inline uint8_t *put_u32(uint8_t *at, uint32_t value) noexcept nogil:
    at[0] = value >> 24
    at[1] = value >> 16 & 0xFF
    at[2] = value >> 8 & 0xFF
    at[3] = value & 0xFF
    return at + 4


cdef inline uint8_t *put_u64(uint8_t *at, uint64_t value) noexcept nogil:
    return put_u32(put_u32(at, <uint32_t> (value >> 32)), <uint32_t> value)


cdef inline uint8_t *put_head(uint8_t *at, uint32_t body, uint8_t type_) noexcept nogil:
    """The length, which counts the type byte and the body, and the type."""
    at = put_u32(at, body + 1)
    at[0] = type_
    return at + 1


cdef inline uint8_t *extend(bytearray buffer, Py_ssize_t size) except NULL:
    """Make `buffer` longer by `size` bytes; returns where they begin."""
    cdef Py_ssize_t before = PyByteArray_GET_SIZE(buffer)
    PyByteArray_Resize(buffer, before + size)
    return <uint8_t *> PyByteArray_AS_STRING(buffer) + before


cdef inline bytearray answers_of(dict kind, uint64_t ticket):
    """What `ticket` gets of that kind."""
    cdef bytearray buffer = kind.get(ticket)
    if buffer is None:
        buffer = kind[ticket] = bytearray()
    return buffer


cdef inline uint8_t *answer(dict kind, uint64_t ticket, Py_ssize_t size) except NULL:
    """Make what `ticket` gets of that kind longer by `size` bytes; returns where they begin."""
    return extend(answers_of(kind, ticket), size)
