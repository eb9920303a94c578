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
    """Read what `chunk.fd` has, once; behind a hang-up until there is no more."""
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


def receive(Batch batch, list ready, links, double now, size_t read_budget, size_t turn_budget):
    """As `receive.receive`."""
    cdef list events = [], others = [], what
    cdef bytearray modes = links.modes
    cdef array heard = links.heard, tickets = links.tickets
    cdef Py_ssize_t count = len(ready), dealt = 0, read = 0, i
    cdef size_t first = batch.used, taken
    cdef Chunk *chunks = <Chunk *> malloc((count + 1) * sizeof(Chunk))
    cdef Chunk *chunk
    cdef int fd, mask
    if chunks == NULL:
        raise MemoryError
    try:
        # 1. Which of them are read here, and which are not.
        for fd, mask in ready:
            if fd >= PyByteArray_GET_SIZE(modes) or not PyByteArray_AS_STRING(modes)[fd] & READ_DIRECT:
                others.append((fd, mask))
                chunks[dealt].fd = -1
            else:
                if mask & WRITABLE:
                    others.append((fd, WRITABLE))
                chunks[dealt].fd = fd if mask & (READABLE | HUNG_UP) else -1
            chunks[dealt].mask = mask
            dealt += 1
        # 2. Read, all into the arena, which must not move meanwhile: the last one begun may go over the turn's budget.
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
        # 3. Enter what came.
        for i in range(read):
            chunk = &chunks[i]
            fd = chunk.fd
            if fd < 0:
                continue
            if chunk.end > chunk.start:
                heard.data.as_doubles[fd] = now
                what = []
                try:
                    taken = batch.take(tickets.data.as_ulonglongs[fd], chunk.start, chunk.end, what)
                except MemoryError:  # this one ends; the others have their turn
                    events.append((fd, ENOMEM))
                    continue
                for event in what:
                    events.append((fd, event))
                if taken < chunk.end:
                    events.append((fd, batch.bytes_at(taken, chunk.end - taken)))
                if what and isinstance(what[len(what) - 1], (Leave, ProtocolViolation)):
                    continue
            if chunk.error:
                events.append((fd, chunk.error))
            elif chunk.ended:
                events.append((fd, 0))
    finally:
        free(chunks)
    if read < count:  # they come up again in the next turn, so they are not reported in this one
        unread = {fd for fd, mask in ready[read:]}
        others = [other for other in others if other[0] not in unread]
    return events, others, read
