# The plain HELLO, as most clients send it: a name at most, no token, flag or keep. `greeting.py` parses all others.

cdef enum:
    PLAIN_HELLO = HEAD + 7  # bytes without the name: version, flags, three lengths


cdef str plain_hello(data):
    """The name in such a HELLO, which is all that there is in `data`; None if it is anything else."""
    cdef const uint8_t *at
    cdef Py_ssize_t size
    cdef uint8_t named
    cdef str name
    if not isinstance(data, bytes):
        return None
    size = PyBytes_GET_SIZE(data)
    if size < PLAIN_HELLO:
        return None
    at = <const uint8_t *> PyBytes_AS_STRING(data)
    named = at[HEAD + 2]
    if (
        get_u32(at) != <uint32_t> (size - LENGTH_BYTES)
        or at[LENGTH_BYTES] != HELLO
        or at[HEAD] != VERSION
        or at[HEAD + 1]
        or named > NAME_MAX
        or size != PLAIN_HELLO + named
        or get_u32(at + size - 4)  # a token or a resume
    ):
        return None
    try:
        name = PyUnicode_DecodeUTF8(<const char *> at + HEAD + 3, named, NULL)
    except UnicodeDecodeError:
        return None
    return name if not named or name.isprintable() else None
