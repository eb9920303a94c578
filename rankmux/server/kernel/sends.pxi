# Sends to one descriptor, at once or batched in the ring. A rank is only a number that is returned with the outcome.

cdef extern from "<limits.h>" nogil:
    int IOV_MAX  # the most pieces that one sendmsg takes

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    ssize_t c_sendmsg "sendmsg"(int fd, const msghdr *message, int flags)
    int MSG_NOSIGNAL


cdef struct Message:
    Py_ssize_t rank
    const iovec *pieces  # the address of its bytes
    size_t count
    size_t size  # of all pieces, in bytes


cdef struct Pending:  # a message in the ring
    Message message
    iovec[3] few  # its pieces, if they are no more than three


cdef struct Behind:  # a member that could not be sent everything
    Py_ssize_t rank
    ssize_t sent
    int error


cdef struct Sends:
    const int *handles  # the file descriptor, by rank
    const char *modes  # by file descriptor
    uring *ring  # NULL: each is sent at once
    Pending *pending  # what has been put into the ring
    bint broken  # the ring
    Behind *behind
    Py_ssize_t behind_count


cdef class Ring:
    """As `fanout.Ring`. It is opened by the first turn that can use it, in the thread that runs the turns."""

    cdef uring *ring
    cdef Pending *pending
    cdef bint wanted
    cdef Py_ssize_t members_min

    def __cinit__(self, bint wanted=True, Py_ssize_t members_min=32):
        self.wanted = wanted
        self.members_min = members_min

    def __dealloc__(self):
        self.close()

    @property
    def open(self):
        """As `fanout.Ring.open`."""
        return self.ring != NULL

    def close(self):
        """As `fanout.Ring.close`."""
        uring_close(self.ring)
        free(self.pending)
        self.ring = NULL
        self.pending = NULL
        self.wanted = False

    cdef uring *get(self) noexcept:
        """The ring, opened if needed; NULL without one."""
        if self.ring == NULL and self.wanted:
            self.pending = <Pending *> malloc(URING_ENTRIES * sizeof(Pending))
            if self.pending != NULL:
                self.ring = uring_open()
            if self.ring == NULL:
                self.close()
        return self.ring


cdef void note_behind(Sends *sends, Py_ssize_t rank, ssize_t sent, int error) noexcept nogil:
    """The outcome of a send to `rank` that did not take everything. Transient errors count as none."""
    cdef Behind *behind = &sends.behind[sends.behind_count]
    sends.behind_count += 1
    behind.rank = rank
    behind.sent = sent
    behind.error = 0 if error == EAGAIN or error == EINTR else error


cdef void send_now(Sends *sends, const Message *message) noexcept nogil:
    """Send it, in one call if it has at most IOV_MAX pieces, and record the outcome if bytes are left."""
    cdef int fd = sends.handles[message.rank]
    cdef msghdr header
    cdef size_t done = 0, at = 0, portion, i
    cdef ssize_t sent
    if message.count == 1:
        sent = c_send(fd, message.pieces.iov_base, message.size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent != <ssize_t> message.size:
            note_behind(sends, message.rank, max(sent, 0), errno if sent < 0 else 0)
        return
    memset(&header, 0, sizeof(header))
    while at < message.count:
        header.msg_iov = <iovec *> message.pieces + at
        header.msg_iovlen = min(message.count - at, <size_t> IOV_MAX)
        portion = 0
        for i in range(at, at + header.msg_iovlen):
            portion += message.pieces[i].iov_len
        sent = c_sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent != <ssize_t> portion:
            note_behind(sends, message.rank, done + max(sent, 0), errno if sent < 0 else 0)
            return
        done += portion
        at += header.msg_iovlen


cdef void run_ring(Sends *sends) noexcept nogil:
    """Send the entries of the ring, and record the members that did not take everything."""
    cdef Py_ssize_t i, count = sends.ring.count
    cdef const Message *message
    cdef int result
    if not count:
        return
    sends.broken = uring_run(sends.ring) < 0 or sends.broken
    for i in range(count):
        message = &sends.pending[i].message
        result = sends.ring.results[i]
        if result == URING_NOT_SENT:
            send_now(sends, message)
        elif result < 0:
            note_behind(sends, message.rank, 0, -result)
        elif result != <ssize_t> message.size:
            note_behind(sends, message.rank, result, 0)


cdef void send_message(Sends *sends, const Message *message) noexcept nogil:
    """Send it, now or with the others in the ring: more than three pieces must stay where they are until that has run."""
    cdef Pending *pending
    cdef int fd = sends.handles[message.rank]
    if fd < 0:  # connected elsewhere
        return
    if not sends.modes[fd] & WRITE_DIRECT:
        note_behind(sends, message.rank, 0, 0)
        return
    if sends.ring == NULL or sends.broken or message.count > <size_t> IOV_MAX:
        send_now(sends, message)
        return
    pending = &sends.pending[sends.ring.count]
    pending.message = message[0]
    if message.count <= 3:
        memcpy(pending.few, message.pieces, message.count * sizeof(iovec))
        pending.message.pieces = pending.few
    uring_put(sends.ring, fd, pending.message.pieces, message.count)
    if sends.ring.count == URING_ENTRIES:
        run_ring(sends)
