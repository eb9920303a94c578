# The loop that accepts.

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)

cdef extern from "server/kernel/accept.h" nogil:
    enum: ADDRESS_SIZE
    int accept_plain(int listening, char *text)


cdef object first_bytes(int fd, char *buffer, size_t size):
    """What `fd` has brought already, as `accept.accept` gives it."""
    cdef ssize_t got
    if not size:
        return None
    got = c_recv(fd, buffer, size, MSG_DONTWAIT)
    if got >= 0:
        return PyBytes_FromStringAndSize(buffer, got)
    return None if errno == EAGAIN or errno == EINTR else errno


def accept(listening, list newcomers, Py_ssize_t most, size_t size):
    """As `accept.accept`."""
    cdef char[ADDRESS_SIZE] text
    cdef int fd, source = listening.fileno(), family = listening.family
    cdef char *buffer = <char *> malloc(size + 1)
    if buffer == NULL:
        return ENOMEM
    try:
        while PyList_GET_SIZE(newcomers) < most:
            fd = accept_plain(source, text)
            if fd < 0:
                return errno
            sock = None
            try:
                sock = PlainSocket(family, NON_BLOCKING_STREAM, 0, fd)
                address = PyUnicode_DecodeASCII(text, strlen(text), NULL)
                newcomers.append((sock, address, first_bytes(fd, buffer, size)))
            except (OSError, MemoryError) as error:
                if sock is None:
                    c_close(fd)
                else:
                    sock.close()
                return getattr(error, "errno", None) or ENOMEM
    finally:
        free(buffer)
    return 0
