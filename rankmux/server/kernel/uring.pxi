# The declarations of `uring.h`, which explains them.

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "server/kernel/uring.h" nogil:
    int URING_ENTRIES, URING_NOT_SENT
    ctypedef struct uring:
        unsigned count
        int *results
    uring *uring_open()
    void uring_close(uring *ring)
    void uring_put(uring *ring, int fd, const iovec *pieces, size_t count)
    int uring_run(uring *ring)
