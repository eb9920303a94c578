# The loop that sends each member its part of a turn.
#
# In this order: the structs, the ring, how one message leaves (at once, or with others in the ring), what each rank gets,
# and `flush`, which gathers it all and then sends without the GIL. Meanwhile C code points into the turn's buffers and the
# tables of `tables`; they belong to the thread that runs the turn, and it is busy here.

cdef extern from "<sys/socket.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    ssize_t c_sendmsg "sendmsg"(int fd, const msghdr *message, int flags)
    int MSG_NOSIGNAL

cdef enum:
    RANK_FRAME = HEAD + RANK_BODY  # bytes


cdef struct Step:  # behind the rank of this sender, the shared prefix is so long
    Py_ssize_t rank
    size_t end


cdef struct Own:  # what one rank gets and no other does
    Py_ssize_t rank
    size_t start  # in the scratch buffer
    size_t size


cdef struct Pending:  # what one rank is sent, in two pieces of which either may be empty
    Py_ssize_t rank
    const uint8_t *first
    size_t first_size
    const uint8_t *second
    size_t second_size


cdef struct Behind:  # a member that could not be sent everything
    Py_ssize_t rank
    ssize_t sent
    int error


cdef struct Fanout:
    Py_ssize_t members
    const int *handles  # the file descriptor, by rank
    const char *modes  # by file descriptor
    const uint8_t *executes
    Step *steps
    Py_ssize_t step_count
    const uint8_t *rank_frames
    Py_ssize_t *departed
    Py_ssize_t departed_count
    Own *own
    Py_ssize_t own_count
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
        """The ring, if there is one to be had."""
        if self.ring == NULL and self.wanted:
            self.pending = <Pending *> malloc(URING_ENTRIES * sizeof(Pending))
            if self.pending != NULL:
                self.ring = uring_open()
            if self.ring == NULL:
                self.close()
        return self.ring


cdef void note_behind(Fanout *fanout, Py_ssize_t rank, ssize_t sent, int error) noexcept nogil:
    """The outcome of a send to `rank` that did not take everything. Errors that pass count as none."""
    cdef Behind *behind = &fanout.behind[fanout.behind_count]
    fanout.behind_count += 1
    behind.rank = rank
    behind.sent = sent
    behind.error = 0 if error == EAGAIN or error == EINTR else error


cdef void send_now(Fanout *fanout, const Pending *one) noexcept nogil:
    """Send the two pieces in one call, and note it if not all of them went out."""
    cdef iovec[2] pieces
    cdef msghdr message
    cdef ssize_t sent
    cdef int fd = fanout.handles[one.rank]
    if not one.second_size:
        sent = c_send(fd, one.first, one.first_size, MSG_DONTWAIT | MSG_NOSIGNAL)
    elif not one.first_size:
        sent = c_send(fd, one.second, one.second_size, MSG_DONTWAIT | MSG_NOSIGNAL)
    else:
        pieces[0].iov_base = <void *> one.first
        pieces[0].iov_len = one.first_size
        pieces[1].iov_base = <void *> one.second
        pieces[1].iov_len = one.second_size
        memset(&message, 0, sizeof(message))
        message.msg_iov = pieces
        message.msg_iovlen = 2
        sent = c_sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
    if sent < 0:
        note_behind(fanout, one.rank, 0, errno)
    elif sent != <ssize_t> (one.first_size + one.second_size):
        note_behind(fanout, one.rank, sent, 0)


cdef void run_ring(Fanout *fanout) noexcept nogil:
    """Send the entries of the ring, and note the members that did not take everything."""
    cdef Py_ssize_t i, count = fanout.ring.count
    cdef const Pending *one
    cdef int result
    if not count:
        return
    fanout.broken = uring_run(fanout.ring) < 0 or fanout.broken
    for i in range(count):
        one = &fanout.pending[i]
        result = fanout.ring.results[i]
        if result == URING_NOT_SENT:
            send_now(fanout, one)
        elif result < 0:
            note_behind(fanout, one.rank, 0, -result)
        elif result != <ssize_t> (one.first_size + one.second_size):
            note_behind(fanout, one.rank, result, 0)


cdef void send_one(
    Fanout *fanout, Py_ssize_t rank, const uint8_t *first, size_t first_size, const uint8_t *second, size_t second_size
) noexcept nogil:
    """Send the two pieces to `rank` in one call, now or with the others in the ring."""
    cdef Pending one
    cdef int fd = fanout.handles[rank]
    if fd < 0:  # connected elsewhere
        return
    if not fanout.modes[fd] & WRITE_DIRECT:
        note_behind(fanout, rank, 0, 0)
        return
    one.rank = rank
    one.first = first
    one.first_size = first_size
    one.second = second
    one.second_size = second_size
    if fanout.ring == NULL or fanout.broken:
        send_now(fanout, &one)
        return
    fanout.pending[fanout.ring.count] = one
    uring_put(fanout.ring, fd, first, first_size, second, second_size)
    if fanout.ring.count == URING_ENTRIES:
        run_ring(fanout)


cdef const uint8_t *rank_frame(const Fanout *fanout, Py_ssize_t rank, Py_ssize_t *before) noexcept nogil:
    """The RANK frame of the member that was at `rank`, or NULL. `before` counts the departed before it; it only grows."""
    while before[0] < fanout.departed_count and fanout.departed[before[0]] < rank:
        before[0] += 1
    if not before[0] or (before[0] < fanout.departed_count and fanout.departed[before[0]] == rank):
        return NULL
    return fanout.rank_frames + (rank - before[0] - fanout.departed[0]) * RANK_FRAME


cdef void send_range(
    Fanout *fanout, Py_ssize_t first, Py_ssize_t last, size_t prefix, Py_ssize_t *before
) noexcept nogil:
    """Send the ranks first to last - 1 the same prefix, and each its RANK frame if there is one."""
    cdef Py_ssize_t rank
    cdef const uint8_t *own
    if not prefix and not fanout.departed_count:
        return  # nobody here gets anything, and there may be thousands of them
    for rank in range(first, last):
        own = rank_frame(fanout, rank, before)
        if prefix or own != NULL:
            send_one(fanout, rank, fanout.executes, prefix, own, RANK_FRAME if own != NULL else 0)


cdef Own lay_own(
    Fanout *fanout, bytearray scratch, Py_ssize_t rank, size_t prefix, Py_ssize_t *before, list splices, tail
) except *:
    """Lay all that `rank` gets one behind the other: the prefix with its splices at their places, RANK, its answers."""
    cdef Own own
    cdef size_t start = 0, at
    cdef tuple splice
    cdef bytes frame
    cdef const uint8_t *moved = rank_frame(fanout, rank, before)
    own.rank = rank
    own.start = PyByteArray_GET_SIZE(scratch)
    if splices is not None:
        for splice in splices:
            at = splice[0]
            frame = splice[1]
            if start < at:
                memcpy(extend(scratch, at - start), fanout.executes + start, at - start)
                start = at
            memcpy(extend(scratch, len(frame)), <const char *> frame, len(frame))
    if start < prefix:
        memcpy(extend(scratch, prefix - start), fanout.executes + start, prefix - start)
    if moved != NULL:
        memcpy(extend(scratch, RANK_FRAME), moved, RANK_FRAME)
    if tail is not None:
        scratch += tail
    own.size = PyByteArray_GET_SIZE(scratch) - own.start
    return own


cdef void send_all(Fanout *fanout, const uint8_t *scratch_bytes) noexcept nogil:
    """Send each member its frames, in rank order; the bytes of `own` lie in `scratch_bytes`."""
    cdef Py_ssize_t step = 0, i = 0, rank = 0, before = 0, upto
    cdef size_t prefix = 0
    cdef const Own *own
    while rank < fanout.members:  # from one step to the next the prefix is the same
        upto = fanout.steps[step].rank + 1 if step < fanout.step_count else fanout.members
        while i < fanout.own_count and fanout.own[i].rank < upto:
            own = &fanout.own[i]
            send_range(fanout, rank, own.rank, prefix, &before)
            if own.size:
                send_one(fanout, own.rank, scratch_bytes + own.start, own.size, NULL, 0)
            rank = own.rank + 1
            i += 1
        send_range(fanout, rank, upto, prefix, &before)
        rank = upto
        if step < fanout.step_count:
            prefix = fanout.steps[step].end
        step += 1
    if fanout.ring != NULL:
        run_ring(fanout)


cdef void *allot(Py_ssize_t count, size_t item_bytes) except NULL:
    """Memory for so many items; for none too, as malloc(0) may give NULL, which would look like a failure."""
    cdef void *items = malloc((count + 1) * item_bytes)
    if items == NULL:
        raise MemoryError
    return items


def flush(deliveries, array tickets, array handles, dict tails, tables, Ring ring):
    """As `fanout.flush`."""
    cdef Fanout fanout
    cdef bytearray modes = tables.modes, executes = deliveries.executes, frames = deliveries.rank_frames
    cdef bytearray scratch = bytearray()
    cdef dict tail_of = {rank_now(ticket, tickets): tail for ticket, tail in tails.items()}
    cdef dict directed = deliveries.directed
    cdef list ranks = sorted({*directed, *tail_of} if tail_of else directed)  # the ranks with frames for them alone
    cdef list steps = deliveries.steps, departed = deliveries.departed
    cdef list behind
    cdef Py_ssize_t step = 0, before = 0, i, rank
    cdef size_t prefix = 0
    cdef const uint8_t *scratch_bytes
    memset(&fanout, 0, sizeof(fanout))
    fanout.members = len(tickets)
    fanout.step_count = len(steps)
    fanout.departed_count = len(departed)
    fanout.own_count = len(ranks)
    try:
        fanout.steps = <Step *> allot(fanout.step_count, sizeof(Step))
        fanout.departed = <Py_ssize_t *> allot(fanout.departed_count, sizeof(Py_ssize_t))
        fanout.own = <Own *> allot(fanout.own_count, sizeof(Own))
        fanout.behind = <Behind *> allot(fanout.members, sizeof(Behind))
        for i in range(fanout.step_count):
            fanout.steps[i].rank, fanout.steps[i].end = steps[i]
        for i in range(fanout.departed_count):
            fanout.departed[i] = departed[i]
        if fanout.members >= ring.members_min:
            fanout.ring = ring.get()
            fanout.pending = ring.pending
        fanout.handles = handles.data.as_ints
        fanout.modes = PyByteArray_AS_STRING(modes)
        fanout.executes = <const uint8_t *> PyByteArray_AS_STRING(executes)
        fanout.rank_frames = <const uint8_t *> PyByteArray_AS_STRING(frames)
        for i in range(fanout.own_count):
            rank = ranks[i]
            while step < fanout.step_count and fanout.steps[step].rank < rank:
                prefix = fanout.steps[step].end
                step += 1
            fanout.own[i] = lay_own(&fanout, scratch, rank, prefix, &before, directed.get(rank), tail_of.get(rank))
        scratch_bytes = <const uint8_t *> PyByteArray_AS_STRING(scratch)  # only now: growing moves it
        with nogil:
            send_all(&fanout, scratch_bytes)
        if fanout.broken:
            ring.close()
        behind = []
        for i in range(fanout.behind_count):
            behind.append((fanout.behind[i].rank, fanout.behind[i].sent, fanout.behind[i].error))
        if fanout.ring != NULL:  # whoever has a queue was noted before the ring ran
            behind.sort()
        return behind
    finally:
        free(fanout.steps)
        free(fanout.departed)
        free(fanout.own)
        free(fanout.behind)
