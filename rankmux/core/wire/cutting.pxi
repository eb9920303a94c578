# The compiled twin of cutting.py.

def cut(const uint8_t[::1] data, Py_ssize_t max_length):
    """As `_framing_py.cut`."""
    cdef list frames = []
    cdef Py_ssize_t cursor = 0, end = data.shape[0]
    cdef const uint8_t *at
    cdef uint32_t length
    while end - cursor >= 4:
        at = &data[cursor]
        length = get_u32(at)
        if length == 0 or length > max_length:
            return frames, cursor, bad_length(length, max_length)
        if end - cursor - 4 < length:
            break
        frames.append((at[4], PyBytes_FromStringAndSize(<const char *> at + HEAD, length - 1)))
        cursor += 4 + length
    return frames, cursor, None
