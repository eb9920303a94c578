# The loop that sends each member its part of a turn.
#
# In this order: the structs, what each rank gets, the pieces of the ranks with frames of their own, and `flush`, which finds
# these pieces and then sends without the GIL. Nothing is copied: a piece is an iovec that points into the turn's buffers and
# frames. These, and the tables of `tables`, belong to the thread that runs the turn, and it is busy here.

cdef enum:
    RANK_FRAME = HEAD + RANK_BODY  # bytes


cdef struct Step:  # behind the rank of this sender, the shared prefix is so long
    Py_ssize_t rank
    size_t end


cdef struct Fanout:
    Py_ssize_t members
    const uint8_t *executes
    Step *steps
    Py_ssize_t step_count
    const uint8_t *rank_frames
    Py_ssize_t *departed
    Py_ssize_t departed_count
    size_t changes  # where the CHANGED frames begin, in `executes`
    size_t changes_size  # of them all, in bytes
    Py_ssize_t baton_rank  # of the member that gets BATON, or -1
    const uint8_t *baton
    size_t baton_size
    Message *own  # for the ranks with frames that no other gets; `pieces` are set at last, when theirs no longer move
    Py_ssize_t own_count
    iovec *pieces  # of all of `own`, one behind the other
    size_t piece_count
    size_t piece_room
    Sends sends


cdef const uint8_t *rank_frame(const Fanout *fanout, Py_ssize_t rank, Py_ssize_t *before) noexcept nogil:
    """The RANK frame of the member that was at `rank`, or NULL. `before` counts the departed before it; it only grows."""
    while before[0] < fanout.departed_count and fanout.departed[before[0]] < rank:
        before[0] += 1
    if not before[0] or (before[0] < fanout.departed_count and fanout.departed[before[0]] == rank):
        return NULL
    return fanout.rank_frames + (rank - before[0] - fanout.departed[0]) * RANK_FRAME


cdef inline bint is_told_changes(const Fanout *fanout, Py_ssize_t rank) noexcept nogil:
    """Whether the member at `rank` is sent the CHANGED frames of this turn."""
    cdef int fd = fanout.sends.handles[rank]
    return fanout.changes_size and fd >= 0 and fanout.sends.modes[fd] & WATCHES


cdef void send_range(
    Fanout *fanout, Py_ssize_t first, Py_ssize_t last, size_t prefix, Py_ssize_t *before
) noexcept nogil:
    """Send the ranks first to last - 1 the same prefix, and each its RANK frame and the changes if it gets them."""
    cdef iovec[3] pieces
    cdef size_t shared = 1 if prefix else 0  # pieces
    cdef Message message
    cdef const uint8_t *moved
    if not prefix and not fanout.departed_count and not fanout.changes_size:
        return  # nobody here gets anything, and there may be thousands of them
    pieces[0].iov_base = <void *> fanout.executes
    pieces[0].iov_len = prefix
    message.pieces = pieces
    for message.rank in range(first, last):
        message.count = shared
        message.size = prefix
        moved = rank_frame(fanout, message.rank, before)
        if moved != NULL:
            pieces[shared].iov_base = <void *> moved
            pieces[shared].iov_len = RANK_FRAME
            message.count += 1
            message.size += RANK_FRAME
        if is_told_changes(fanout, message.rank):
            pieces[message.count].iov_base = <void *> (fanout.executes + fanout.changes)
            pieces[message.count].iov_len = fanout.changes_size
            message.count += 1
            message.size += fanout.changes_size
        if message.count:
            send_message(&fanout.sends, &message)


cdef void send_all(Fanout *fanout) noexcept nogil:
    """Send each member its frames, in rank order."""
    cdef Py_ssize_t step = 0, i = 0, rank = 0, before = 0, upto
    cdef size_t prefix = 0
    cdef const Message *own
    while rank < fanout.members:  # from one step to the next the prefix is the same
        upto = fanout.steps[step].rank + 1 if step < fanout.step_count else fanout.members
        while i < fanout.own_count and fanout.own[i].rank < upto:
            own = &fanout.own[i]
            send_range(fanout, rank, own.rank, prefix, &before)
            if own.count:
                send_message(&fanout.sends, own)
            rank = own.rank + 1
            i += 1
        send_range(fanout, rank, upto, prefix, &before)
        rank = upto
        if step < fanout.step_count:
            prefix = fanout.steps[step].end
        step += 1
    if fanout.sends.ring != NULL:
        run_ring(&fanout.sends)


cdef int add_piece(Fanout *fanout, const void *start, size_t size) except -1:
    """Put a piece behind the others of the last of `own`."""
    cdef Message *message = &fanout.own[fanout.own_count - 1]
    cdef size_t room = 2 * fanout.piece_room + 64
    cdef iovec *piece
    if not size:
        return 0
    if fanout.piece_count == fanout.piece_room:
        piece = <iovec *> realloc(fanout.pieces, room * sizeof(iovec))
        if piece == NULL:
            raise MemoryError
        fanout.pieces = piece
        fanout.piece_room = room
    piece = &fanout.pieces[fanout.piece_count]
    piece.iov_base = <void *> start
    piece.iov_len = size
    fanout.piece_count += 1
    message.count += 1
    message.size += size
    return 0


cdef int add_own(
    Fanout *fanout, Py_ssize_t rank, uint64_t ticket, size_t prefix, Py_ssize_t *before, list splices, list answers
) except -1:
    """Find the pieces of `rank`: the prefix with its splices at their places, RANK, its answers."""
    cdef Message *message = &fanout.own[fanout.own_count]
    cdef const uint8_t *moved = rank_frame(fanout, rank, before)
    cdef size_t start = 0, at
    cdef tuple splice
    cdef bytes frame
    cdef dict kind
    cdef bytearray octets
    memset(message, 0, sizeof(Message))
    message.rank = rank
    fanout.own_count += 1
    if splices is not None:
        for splice in splices:
            at = splice[0]
            frame = splice[1]
            add_piece(fanout, fanout.executes + start, at - start)
            add_piece(fanout, <const char *> frame, len(frame))
            start = at
    add_piece(fanout, fanout.executes + start, prefix - start)
    if moved != NULL:
        add_piece(fanout, moved, RANK_FRAME)
    if rank == fanout.baton_rank:
        add_piece(fanout, fanout.baton, fanout.baton_size)
    if is_told_changes(fanout, rank):
        add_piece(fanout, fanout.executes + fanout.changes, fanout.changes_size)
    for kind in answers:
        octets = kind.get(ticket)
        if octets is not None:
            add_piece(fanout, PyByteArray_AS_STRING(octets), PyByteArray_GET_SIZE(octets))
    return 0


cdef void place_own(Fanout *fanout) noexcept:
    """Have each of `own` point to its pieces."""
    cdef const iovec *pieces = fanout.pieces
    cdef Py_ssize_t i
    for i in range(fanout.own_count):
        fanout.own[i].pieces = pieces
        pieces += fanout.own[i].count


cdef void *allot(Py_ssize_t count, size_t item_bytes) except NULL:
    """Memory for so many items; for none too, as malloc(0) may give NULL, which would look like a failure."""
    cdef void *items = malloc((count + 1) * item_bytes)
    if items == NULL:
        raise MemoryError
    return items


def flush(deliveries, array tickets, array handles, tables, Ring ring):
    """As `fanout.flush`."""
    cdef Fanout fanout
    cdef Sends *sends = &fanout.sends
    cdef bytearray modes = tables.modes, executes = deliveries.executes, frames = deliveries.rank_frames
    cdef dict directed = deliveries.directed
    cdef list answers = [kind for kind in deliveries.answers if kind]
    cdef set with_answers = {rank_now(ticket, tickets) for kind in answers for ticket in kind}
    cdef list ranks  # those with frames for them alone
    cdef bytes baton
    cdef list steps = deliveries.steps, departed = deliveries.departed
    cdef list behind
    cdef Py_ssize_t step = 0, before = 0, i, rank
    cdef size_t prefix = 0
    memset(&fanout, 0, sizeof(fanout))
    fanout.baton_rank = -1
    if deliveries.baton is not None:
        fanout.baton_rank, baton = deliveries.baton
        fanout.baton = baton
        fanout.baton_size = len(baton)
        with_answers.add(fanout.baton_rank)
    ranks = sorted(with_answers.union(directed) if with_answers else directed)
    fanout.members = len(tickets)
    fanout.step_count = len(steps)
    fanout.departed_count = len(departed)
    try:
        fanout.steps = <Step *> allot(fanout.step_count, sizeof(Step))
        fanout.departed = <Py_ssize_t *> allot(fanout.departed_count, sizeof(Py_ssize_t))
        fanout.own = <Message *> allot(len(ranks), sizeof(Message))
        sends.behind = <Behind *> allot(fanout.members, sizeof(Behind))
        for i in range(fanout.step_count):
            fanout.steps[i].rank, fanout.steps[i].end = steps[i]
        for i in range(fanout.departed_count):
            fanout.departed[i] = departed[i]
        if fanout.members >= ring.members_min:
            sends.ring = ring.get()
            sends.pending = ring.pending
        sends.handles = handles.data.as_ints
        sends.modes = PyByteArray_AS_STRING(modes)
        fanout.executes = <const uint8_t *> PyByteArray_AS_STRING(executes)
        if deliveries.changes:
            fanout.changes, end = deliveries.changes_after(0)
            fanout.changes_size = end - fanout.changes
        fanout.rank_frames = <const uint8_t *> PyByteArray_AS_STRING(frames)
        for rank in ranks:
            while step < fanout.step_count and fanout.steps[step].rank < rank:
                prefix = fanout.steps[step].end
                step += 1
            add_own(&fanout, rank, tickets.data.as_ulonglongs[rank], prefix, &before, directed.get(rank), answers)
        place_own(&fanout)
        with nogil:
            send_all(&fanout)
        if sends.broken:
            ring.close()
        behind = []
        for i in range(sends.behind_count):
            behind.append((sends.behind[i].rank, sends.behind[i].sent, sends.behind[i].error))
        if sends.ring != NULL:  # whoever has a queue was noted before the ring ran
            behind.sort()
        return behind
    finally:
        free(fanout.steps)
        free(fanout.departed)
        free(fanout.own)
        free(fanout.pieces)
        free(sends.behind)
