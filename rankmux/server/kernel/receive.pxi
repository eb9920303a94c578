# The loop that reads members.

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_recv "recv"(int fd, void *buffer, size_t size, int flags)
    int MSG_DONTWAIT


cdef struct Chunk:
    int fd
    int mask
    int error  # an errno, 0 for none
    bint ended
    size_t start  # in the arena
    size_t end


cdef void read_chunk(Chunk *chunk, uint8_t *arena, size_t budget) noexcept nogil:
    """Read from `chunk.fd` once; after a hang-up until there is no more."""
    cdef size_t limit = chunk.start + budget
    cdef ssize_t size
    while chunk.end < limit:
        size = c_recv(chunk.fd, arena + chunk.end, limit - chunk.end, MSG_DONTWAIT)
        if size > 0:
            chunk.end += size
            if not chunk.mask & HUNG_UP:
                return
        elif size == 0:
            chunk.ended = True
            return
        else:
            if errno != EAGAIN and errno != EINTR:
                chunk.error = errno
            return


cdef bint waits_for_room(Batch batch, const uint8_t *at, Py_ssize_t size) noexcept:
    """Whether these bytes, which were not taken, begin with a whole frame or a breach, not with a partial frame."""
    cdef Py_ssize_t length
    if size < LENGTH_BYTES:
        return False
    length = get_u32(at)
    return not size - LENGTH_BYTES < length <= <Py_ssize_t> (batch.max_payload + FRAME_OVERHEAD)


def take_in(Batch batch, tables, int fd, data, double now, long long share=UNLIMITED):
    """As `receive.take_in`."""
    cdef dict partials = tables.partials, since = tables.partial_since, backlog = tables.backlog
    cdef bytearray partial = partials.get(fd)
    cdef const uint8_t *at
    cdef Py_ssize_t size, taken, rest
    cdef uint32_t length
    if partial is not None:
        partial += data
        size = PyByteArray_GET_SIZE(partial)
        if size >= 4:
            at = <const uint8_t *> PyByteArray_AS_STRING(partial)
            length = get_u32(at)
            if size - 4 < <Py_ssize_t> length <= <Py_ssize_t> (batch.max_payload + FRAME_OVERHEAD):
                backlog.pop(fd, None)
                if fd not in since:
                    since[fd] = now
                return []  # the work on a frame in many small parts stays linear in its bytes
        data = partial
    taken, events = batch.feed(tables.tickets[fd], data, share)
    rest = len(data) - taken
    if taken:
        backlog.pop(fd, None)
    if not rest:
        if partial is not None:
            del partials[fd]
            since.pop(fd, None)
        return events
    if partial is None:
        partial = partials[fd] = bytearray(data[taken:])
    else:
        del partial[:taken]
    if waits_for_room(batch, <const uint8_t *> PyByteArray_AS_STRING(partial), rest):
        backlog[fd] = None
        since.pop(fd, None)
        return events
    backlog.pop(fd, None)
    if taken or fd not in since:
        since[fd] = now
    return events


def receive(
    Batch batch,
    list ready,
    tables,
    double now,
    size_t read_budget,
    size_t turn_budget,
    long long share=UNLIMITED,
):
    """As `receive.receive`."""
    cdef list events = [], others = [], found
    cdef bytearray modes = tables.modes
    cdef array heard = tables.heard, tickets = tables.tickets
    cdef dict partials = tables.partials, backlog = tables.backlog
    cdef set yielding = tables.yielding
    cdef Py_ssize_t count = len(ready), dealt = 0, read = 0, i
    cdef size_t first = batch.used, taken
    cdef Chunk *chunks = <Chunk *> malloc((count + 1) * sizeof(Chunk))
    cdef Chunk *chunk
    cdef int fd, mask
    if chunks == NULL:
        raise MemoryError
    try:
        # 1. Select the descriptors that are read here.
        for fd, mask in ready:
            if fd >= PyByteArray_GET_SIZE(modes) or not PyByteArray_AS_STRING(modes)[fd] & READ_DIRECT:
                others.append((fd, mask))
                chunks[dealt].fd = -1
            else:
                if mask & WRITABLE:
                    others.append((fd, WRITABLE))
                chunks[dealt].fd = fd if mask & (READABLE | HUNG_UP) else -1
                if (backlog and fd in backlog) or (yielding and fd in yielding):
                    chunks[dealt].fd = -1
            chunks[dealt].mask = mask
            dealt += 1
        # 2. Read, all into the arena, which must not move meanwhile: the last read may exceed the turn's budget.
        batch.reserve(turn_budget + read_budget)
        with nogil:
            while read < count and batch.used - first < turn_budget:
                chunk = &chunks[read]
                read += 1
                chunk.start = chunk.end = batch.used
                chunk.error = 0
                chunk.ended = False
                if chunk.fd >= 0:
                    read_chunk(chunk, batch.arena, read_budget)
                    batch.used = chunk.end
        # 3. Enter the frames. The arena may move from here on, so chunks refer to it by offsets.
        for i in range(read):
            chunk = &chunks[i]
            fd = chunk.fd
            if fd < 0:
                continue
            if chunk.end > chunk.start:
                heard.data.as_doubles[fd] = now
                found = []
                try:
                    if partials and fd in partials:
                        found = take_in(
                            batch, tables, fd, batch.bytes_at(chunk.start, chunk.end - chunk.start), now, share
                        )
                    else:
                        taken = batch.take(tickets.data.as_ulonglongs[fd], chunk.start, chunk.end, found, share)
                        if taken < chunk.end:
                            partials[fd] = bytearray(batch.bytes_at(taken, chunk.end - taken))
                            if waits_for_room(batch, batch.arena + taken, chunk.end - taken):
                                backlog[fd] = None
                            else:
                                tables.partial_since[fd] = now
                except MemoryError:  # close this connection; serve the others
                    events.append((fd, ENOMEM))
                    continue
                for event in found:
                    events.append((fd, event))
                if found and isinstance(found[len(found) - 1], (Leave, ProtocolViolation)):
                    continue
            if chunk.error or chunk.ended:
                if backlog and fd in backlog:
                    tables.ends[fd] = chunk.error
                else:
                    events.append((fd, chunk.error))
    finally:
        free(chunks)
    if read < count:  # they are reported again in the next turn, and skipped in this one
        unread = {fd for fd, mask in ready[read:]}
        others = [other for other in others if other[0] not in unread]
    return events, others, read
