# The declarations of `uring.h`, which explains them.

cdef extern from "server/kernel/uring.h" nogil:
    int URING_ENTRIES, URING_NOT_SENT
    ctypedef struct uring:
        unsigned count
        int *results
    uring *uring_open()
    void uring_close(uring *ring)
    void uring_put(
        uring *ring, int fd, const void *first, size_t first_size, const void *second, size_t second_size
    )
    int uring_run(uring *ring)
