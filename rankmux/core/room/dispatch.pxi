# The compiled twin of dispatch.py.

def dispatch(
    Batch batch,
    array tickets,
    array loads,
    Ledger ledger,
    deliveries,
    uint64_t seq,
    Py_ssize_t waiting_max,
    Py_ssize_t waiting_total_max,
    uint32_t result_ttl_ms,
    observe,
):
    """As `dispatch.dispatch`."""
    cdef bytearray executes = deliveries.executes
    cdef list steps = deliveries.steps, opened = [], refused = []
    cdef dict directed = deliveries.directed, accepted = deliveries.accepted
    cdef Py_ssize_t members = len(tickets), rank = 0, first, last, rejected
    cdef bint seated = False
    cdef Py_ssize_t dropped = 0
    cdef Py_ssize_t executions = 0, step_rank = -1  # the sender whose step is the last one
    cdef uint64_t ticket = 0  # the sender's; no member has 0
    cdef uint32_t ttl_ms
    cdef CommandEntry *command
    cdef size_t i
    cdef int code
    cdef uint8_t *at
    cdef bytes frame
    cdef list splices
    for i in range(1, batch.command_count):  # most often they are in order: one sender's, or one command
        if by_seniority(&batch.commands[i - 1], &batch.commands[i]) > 0:
            qsort(batch.commands, batch.command_count, sizeof(CommandEntry), by_seniority)
            break
    for i in range(batch.command_count):
        command = &batch.commands[i]
        if command.ticket != ticket:
            ticket = command.ticket
            rank = rank_now(ticket, tickets)
            seated = rank < members and tickets.data.as_ulonglongs[rank] == ticket
        if not seated:
            dropped += 1
            continue
        code, first, last = target_ranks(command, rank, members, loads, batch.max_payload)
        if not code and ledger.waits(ticket, command.id):
            code = DUPLICATE
        if not code and command.flags & RESULTS and ledger.count(ticket) >= waiting_max:
            code = BUSY
        if code:
            limit = waiting_max if code == BUSY else batch.max_payload
            frame = refusal(command.id, code, command.arg, members, command.size, limit)
        elif command.flags & RESULTS and ledger.owed + last - first > waiting_total_max:
            code = BUSY
            frame = overload(command.id, waiting_total_max)
        if code:
            deliveries.answer(deliveries.refused, ticket, frame)
            refused.append((ticket, code))
            continue
        seq += 1
        ttl_ms = command.ttl_ms
        if command.flags & RESULTS:
            ttl_ms = ttl_ms or result_ttl_ms
            ledger.open(seq, ticket, command.id, tickets, first, last)
            opened.append((seq, ttl_ms))
            add_load(loads, first, last)
        if command.target == ALL:
            at = extend(executes, HEAD + EXECUTE_BODY + command.size)
            lay_execute(at, seq, rank, ttl_ms, command, batch.arena)
            if step_rank == rank:
                steps[len(steps) - 1] = (rank, PyByteArray_GET_SIZE(executes))
            else:
                steps.append((rank, PyByteArray_GET_SIZE(executes)))
                step_rank = rank
        else:
            # bytes that nobody else has seen yet may still be written to
            frame = PyBytes_FromStringAndSize(NULL, HEAD + EXECUTE_BODY + command.size)
            lay_execute(<uint8_t *> <char *> frame, seq, rank, ttl_ms, command, batch.arena)
            receiver = first  # a Python int, made once
            splices = directed.get(receiver)
            if splices is None:
                directed[receiver] = [(PyByteArray_GET_SIZE(executes), frame)]
            else:
                splices.append((PyByteArray_GET_SIZE(executes), frame))
        executions += last - first
        rejected = rank if command.target == ALL else 0
        if not command.flags & QUIET:
            at = put_head(answer(accepted, ticket, HEAD + ACCEPTED_BODY), ACCEPTED_BODY, ACCEPTED)
            at = put_u64(put_u32(at, command.id), seq)
            put_u32(put_u32(at, last - first), rejected)
        if observe is not None:
            payload = batch.bytes_at(command.payload, command.size)
            observe(rank, command.target, command.arg, seq, last - first, rejected, payload)
    deliveries.executions += executions
    return seq, opened, refused, dropped


cdef int by_seniority(const void *a, const void *b) noexcept nogil:
    """Tickets grow with the ranks; one sender's commands stay in the order in which they came."""
    cdef const CommandEntry *left = <const CommandEntry *> a
    cdef const CommandEntry *right = <const CommandEntry *> b
    if left.ticket != right.ticket:
        return -1 if left.ticket < right.ticket else 1
    return -1 if left.payload < right.payload else 1


cdef (int, Py_ssize_t, Py_ssize_t) target_ranks(
    const CommandEntry *command, Py_ssize_t rank, Py_ssize_t members, array loads, uint32_t max_payload
):
    """A RefusedCode or 0, and the ranks first to last - 1 that are to execute the command (section 5)."""
    cdef Py_ssize_t first = rank + 1, least, other
    cdef unsigned int *load = loads.data.as_uints
    if command.size > max_payload:
        return REFUSED_TOO_BIG, 0, 0
    if command.target == ONE:
        if command.arg >= members:
            return NO_SUCH_RANK, 0, 0
        if not command.arg > rank:
            return NOT_LOWER, 0, 0
        return 0, command.arg, command.arg + 1
    if first == members:
        return NO_TARGET, 0, 0
    if command.target == NEXT:
        return 0, first, first + 1
    if command.target == LEAST:
        least = first
        for other in range(first + 1, members):
            if not load[least]:
                break  # none has less than nothing
            if load[other] < load[least]:
                least = other
        return 0, least, least + 1
    return 0, first, members


cdef void lay_execute(
    uint8_t *at, uint64_t seq, uint32_t rank, uint32_t ttl_ms, const CommandEntry *command, const uint8_t *arena
) noexcept nogil:
    """The EXECUTE frame of `command`, at `at`; its payload comes out of the arena."""
    at = put_head(at, EXECUTE_BODY + command.size, EXECUTE)
    at = put_u32(put_u64(at, seq), rank)
    at[0] = command.flags & RESULTS
    memcpy(put_u32(at + 1, ttl_ms), arena + command.payload, command.size)


cdef void add_load(array loads, Py_ssize_t first, Py_ssize_t last):
    cdef unsigned int *load = loads.data.as_uints
    cdef Py_ssize_t rank
    for rank in range(first, last):
        load[rank] += 1


def rank_frames(list departed, list causes, Py_ssize_t survivors, uint64_t seq):
    """As `dispatch.rank_frames`."""
    cdef bytearray frames = bytearray()
    cdef Py_ssize_t before, rank, vacant, stop, count = len(departed)
    cdef uint8_t cause
    cdef uint8_t *at
    if not count:
        return frames
    vacant = departed[0]
    at = extend(frames, (survivors - vacant) * (HEAD + RANK_BODY))
    for before in range(count):
        vacant = departed[before]
        stop = departed[before + 1] if before + 1 < count else survivors + count
        cause = causes[before]
        for rank in range(vacant + 1, stop):
            at = put_u64(put_head(at, RANK_BODY, RANK), seq)
            at = put_u32(put_u32(at, rank - before - 1), survivors)
            at[0] = cause
            at += 1
    return frames
