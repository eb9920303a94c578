# Runs of EXECUTE and ROUTED frames of a client's stream.

cdef enum:
    ENDS = 6  # of executors; as in runs.py


cdef inline object filled(object kind, tuple fields):
    """A named tuple of `kind`, without a call of its constructor."""
    cdef Py_ssize_t index, count = len(fields)
    cdef object made = PyType_GenericAlloc(kind, count)
    for index in range(count):
        field = fields[index]
        Py_INCREF(field)
        PyTuple_SET_ITEM(made, index, field)
    return made


cdef inline object bytes_of(const uint8_t *at, Py_ssize_t size):
    return PyBytes_FromStringAndSize(<const char *> at, size)


def cut_executes(bytearray data, Py_ssize_t cursor, Py_ssize_t max_length, uint32_t rank, uint64_t seq, kind):
    """As `runs.cut_executes`."""
    cdef list run = []
    cdef Py_ssize_t size = 0, end = PyByteArray_GET_SIZE(data)
    cdef const uint8_t *start = <const uint8_t *> PyByteArray_AS_STRING(data)
    cdef const uint8_t *at
    cdef uint32_t length, sender_rank
    cdef uint64_t number
    cdef uint8_t flags
    cdef object own_rank = rank
    while end - cursor >= HEAD:
        at = start + cursor
        length = get_u32(at)
        if at[LENGTH_BYTES] != EXECUTE or length <= EXECUTE_BODY or length > max_length:
            break
        if end - cursor - LENGTH_BYTES < length:
            break
        number, sender_rank, flags = get_u64(at + HEAD), get_u32(at + HEAD + 8), at[HEAD + 12]
        if flags & ~RESULT_WANTED or number <= seq or sender_rank >= rank:
            break
        seq = number
        payload = bytes_of(at + HEAD + EXECUTE_BODY, length - 1 - EXECUTE_BODY)
        size += length - 1 - EXECUTE_BODY
        fields = (seq, sender_rank, own_rank, flags == RESULT_WANTED, get_u32(at + HEAD + 13), payload)
        run.append(filled(kind, fields))
        cursor += LENGTH_BYTES + length
    return run, cursor, size


def cut_results(bytearray data, Py_ssize_t cursor, Py_ssize_t max_length, kind, dict statuses):
    """As `runs.cut_results`."""
    cdef list run = []
    cdef Py_ssize_t size = 0, end = PyByteArray_GET_SIZE(data)
    cdef const uint8_t *start = <const uint8_t *> PyByteArray_AS_STRING(data)
    cdef const uint8_t *at
    cdef uint32_t length, number
    cdef long long id_ = -1
    cdef uint8_t status
    cdef long long ends[ENDS]
    memset(ends, 0, sizeof(ends))
    while end - cursor >= HEAD:
        at = start + cursor
        length = get_u32(at)
        if at[LENGTH_BYTES] != ROUTED or length <= ROUTED_BODY or length > max_length:
            break
        if end - cursor - LENGTH_BYTES < length:
            break
        number, status = get_u32(at + HEAD), at[HEAD + 16]
        known = statuses.get(status)
        if known is None or (id_ >= 0 and number != id_):
            break
        id_ = number
        if status < ENDS:
            ends[status] += 1
        payload = bytes_of(at + HEAD + ROUTED_BODY, length - 1 - ROUTED_BODY)
        size += length - 1 - ROUTED_BODY
        run.append(filled(kind, (get_u32(at + HEAD + 12), get_u64(at + HEAD + 4), known, payload)))
        cursor += LENGTH_BYTES + length
    return id_, run, [ends[at_] for at_ in range(ENDS)], cursor, size
