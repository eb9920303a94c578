# The fast paths for newcomers, without a call into Python for each of their steps.

cdef enum:  # where in WELCOME
    WELCOME_TICKET = HEAD + 9
    WELCOME_SEQ = HEAD + 17
    WELCOME_RANK = HEAD + 25
    WELCOME_MEMBERS = HEAD + 29


def greet_crowd(list newcomers, list joining, list found, tables, watch_all, made, uint64_t serial, double now):
    """As `crowd.greet_crowd`."""
    cdef bytearray modes = tables.modes
    cdef array tickets = tables.tickets, heard = tables.heard
    cdef list sockets = tables.sockets, others = [], fds = []
    cdef Facts conn
    cdef str name
    cdef Py_ssize_t before = PyList_GET_SIZE(joining), watched = 0, i
    cdef uint64_t first_serial = serial
    cdef int fd
    try:
        # 1. Make the connections of those that are greeted here: behind `before`, one in `joining` for each of `fds`.
        for newcomer in newcomers:
            sock, address, first = newcomer
            conn = None
            try:
                name = plain_hello(first)
                if name is not None:
                    fd = sock.fileno()
                    if fd < PyByteArray_GET_SIZE(modes) and fd < PyList_GET_SIZE(found):
                        conn = made(sock, serial, address, now)
                        conn.name = name
                        joining.append(conn)
                        fds.append(fd)
            except (OSError, MemoryError):  # the general path reports it
                conn = None
                del joining[before + PyList_GET_SIZE(fds) :]
            if conn is None:
                others.append((serial, newcomer))
            serial += 1
        # 2. Watch them, as the last thing that may fail: then nothing has to be undone in the kernel.
        watched = watch_all(fds) if fds else 0
        for i in range(watched):
            conn = joining[before + i]
            fd = conn.fd
            conn.state = JOINING
            PyByteArray_AS_STRING(modes)[fd] = 0
            tickets.data.as_ulonglongs[fd] = 0
            heard.data.as_doubles[fd] = now
            sockets[fd] = conn.transport
            found[fd] = conn
        # 3. Those that the system refused to watch.
        for i in range(before + watched, PyList_GET_SIZE(joining)):
            serial = (<Facts> joining[i]).serial
            others.append((serial, newcomers[serial - first_serial]))
    finally:
        del joining[before + watched :]
    return others


def seat_crowd(list joined, list found, dict seats, tables, Ring ring, bytes welcome):
    """As `crowd.seat_crowd`."""
    cdef bytearray modes = tables.modes
    cdef array tickets = tables.tickets
    cdef dict partials = tables.partials
    cdef Sends sends
    cdef Message message
    cdef iovec piece
    cdef list others = [], seated = [], behind = []
    cdef Py_ssize_t count = len(joined), size = len(welcome), i
    cdef Facts conn
    cdef Joined place
    cdef uint64_t ticket
    cdef int fd
    cdef uint8_t *frames = NULL
    cdef uint8_t *at
    cdef int *handles = NULL
    memset(&sends, 0, sizeof(sends))
    try:
        frames = <uint8_t *> allot(count, size)
        handles = <int *> allot(count, sizeof(int))
        sends.behind = <Behind *> allot(count, sizeof(Behind))
        # 1. Select those that are seated here, and write their frames.
        for place in joined:
            fd = place.handle
            conn = found[fd] if fd >= 0 else None  # -1: connected elsewhere, and perhaps away from here
            if (
                conn is None
                or conn.state is not JOINING
                or conn.keep is not None
                or conn.watches
                or conn.paused
                or place.returned
                or place.baton
                or (partials and fd in partials)
                or not conn.transport.direct
            ):
                others.append(place)
                continue
            ticket = place.ticket
            i = PyList_GET_SIZE(seated)
            at = frames + i * size
            memcpy(at, <const char *> welcome, size)
            put_u64(at + WELCOME_TICKET, ticket)
            put_u64(at + WELCOME_SEQ, place.seq)
            put_u32(at + WELCOME_RANK, place.rank)
            put_u32(at + WELCOME_MEMBERS, place.members)
            handles[i] = fd
            seated.append(place)
            seats[ticket] = conn
            conn.ticket = tickets.data.as_ulonglongs[fd] = ticket
            conn.state = MEMBER
            PyByteArray_AS_STRING(modes)[fd] = READ_DIRECT | WRITE_DIRECT
        # 2. Send the frames with the functions of the fan-out, which take the index among the seated for a rank.
        count = PyList_GET_SIZE(seated)
        if count >= ring.members_min:
            sends.ring = ring.get()
            sends.pending = ring.pending
        sends.handles = handles
        sends.modes = PyByteArray_AS_STRING(modes)
        message.pieces = &piece
        message.count = 1
        message.size = piece.iov_len = size
        with nogil:
            for i in range(count):
                message.rank = i
                piece.iov_base = frames + i * size
                send_message(&sends, &message)
            if sends.ring != NULL:
                run_ring(&sends)
        if sends.broken:
            ring.close()
        for i in range(sends.behind_count):
            behind.append((seated[sends.behind[i].rank], sends.behind[i].sent, sends.behind[i].error))
        return others, behind
    finally:
        free(frames)
        free(handles)
        free(sends.behind)
