# The dispatch of a turn: commands into EXECUTE frames, departures into RANK frames.

def dispatch(
    Batch batch,
    array tickets,
    array loads,
    array away,
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
    cdef list steps = deliveries.steps, opened = [], refused = [], batons = []
    cdef dict directed = deliveries.directed, accepted = deliveries.accepted
    cdef Py_ssize_t members = len(tickets), rank = 0, first, last, executors, rejected, absent, receiver
    cdef size_t skip  # bytes of tickets before the payload
    cdef array chosen  # the ranks that execute the command, unless they are `first` to `last - 1`
    cdef bint seated = False
    cdef Py_ssize_t dropped = 0
    cdef Py_ssize_t executions = 0, step_rank = -1  # the sender of the last step
    cdef uint64_t ticket = 0  # the sender's; 0 before the first command
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
        chosen = None
        first = last = absent = 0
        rejected = rank if command.target == ALL else 0
        skip = 0
        if command.size > batch.max_payload:
            code = REFUSED_TOO_BIG
        elif command.target == BATON_WRITE:
            code = NOT_FIRST if rank else 0
            if not code:
                seq += 1
                batons.append((seq, ticket, batch.bytes_at(command.payload, command.size)))
                at = put_head(answer(accepted, ticket, HEAD + ACCEPTED_BODY), ACCEPTED_BODY, ACCEPTED)
                memset(put_u64(put_u32(at, command.id), seq), 0, 12)
                continue
        elif command.target == SET:
            skip = command.arg * TICKET_BYTES
            chosen = array("I")
            code, rejected, absent = name_members(
                chosen, batch.arena + command.payload, command.arg, rank, tickets, away
            )
        else:
            code, first, last = target_ranks(command, rank, members)
            if len(away) and not code:
                chosen = present(first, last, away)
                absent = last - first - len(chosen)
                if not len(chosen):
                    code = ABSENT
                if not absent:
                    chosen = None
            if command.target == LEAST and not code:
                absent = 0
                first = least_loaded(loads, first, last, chosen)
                last = first + 1
                chosen = None
        executors = last - first if chosen is None else len(chosen)
        if not code and ledger.waits(ticket, command.id):
            code = DUPLICATE
        if not code and command.flags & RESULTS and ledger.count(ticket) >= waiting_max:
            code = BUSY
        if code:
            limit = waiting_max if code == BUSY else batch.max_payload
            frame = refusal(command.id, code, command.target, command.arg, members, command.size, limit)
        elif command.flags & RESULTS and ledger.owed + executors > waiting_total_max:
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
            ledger.open(seq, ticket, command.id, command.flags & TIED, tickets, first, last, chosen)
            opened.append((seq, ttl_ms))
            add_load(loads, first, last, chosen)
        if command.target == ALL:
            at = extend(executes, HEAD + EXECUTE_BODY + command.size)
            lay_execute(at, seq, rank, ttl_ms, command, batch.arena, 0)
            if step_rank == rank:
                steps[len(steps) - 1] = (rank, PyByteArray_GET_SIZE(executes))
            else:
                steps.append((rank, PyByteArray_GET_SIZE(executes)))
                step_rank = rank
        else:
            # a new bytes object without other references may still be written to
            frame = PyBytes_FromStringAndSize(NULL, HEAD + EXECUTE_BODY + command.size - skip)
            lay_execute(<uint8_t *> <char *> frame, seq, rank, ttl_ms, command, batch.arena, skip)
            splice = (PyByteArray_GET_SIZE(executes), frame)
            for receiver in range(executors):
                key = first if chosen is None else chosen.data.as_uints[receiver]  # a Python int, made once
                splices = directed.get(key)
                if splices is None:
                    directed[key] = [splice]
                else:
                    splices.append(splice)
        executions += executors
        if not command.flags & QUIET:
            at = put_head(answer(accepted, ticket, HEAD + ACCEPTED_BODY), ACCEPTED_BODY, ACCEPTED)
            at = put_u64(put_u32(at, command.id), seq)
            put_u32(put_u32(put_u32(at, executors), rejected), absent)
        if observe is not None:
            payload = batch.bytes_at(command.payload + skip, command.size - skip)
            observe(rank, command.target, command.arg, seq, executors, rejected, payload)
    deliveries.executions += executions
    return seq, opened, refused, batons, dropped


cdef int by_seniority(const void *a, const void *b) noexcept nogil:
    """Tickets grow with the ranks; one sender's commands keep their order of arrival."""
    cdef const CommandEntry *left = <const CommandEntry *> a
    cdef const CommandEntry *right = <const CommandEntry *> b
    if left.ticket != right.ticket:
        return -1 if left.ticket < right.ticket else 1
    return -1 if left.payload < right.payload else 1


cdef (int, Py_ssize_t, Py_ssize_t) target_ranks(const CommandEntry *command, Py_ssize_t rank, Py_ssize_t members) noexcept:
    """A RefusedCode or 0, and the ranks first to last - 1 that may execute the command (section 5)."""
    cdef Py_ssize_t first = rank + 1
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
    return 0, first, members


cdef Py_ssize_t least_loaded(array loads, Py_ssize_t first, Py_ssize_t last, array chosen):
    """The rank with the smallest load among `chosen`, or `first` to `last - 1`; the most senior of equals."""
    cdef unsigned int *load = loads.data.as_uints
    cdef Py_ssize_t i, other, least = -1
    if chosen is not None:
        first, last = 0, len(chosen)
    for i in range(first, last):
        other = i if chosen is None else chosen.data.as_uints[i]
        if least < 0 or load[other] < load[least]:
            least = other
        if not load[least]:
            break  # no load is below 0
    return least


cdef (int, Py_ssize_t, Py_ssize_t) name_members(
    array chosen, const uint8_t *named, uint32_t count, Py_ssize_t sender, array tickets, array away
) except *:
    """As `dispatch._named`; the ranks that execute go into `chosen`."""
    cdef uint64_t *now = <uint64_t *> tickets.data.as_ulonglongs
    cdef Py_ssize_t members = len(tickets), rank = 0, rejected = 0, gone = 0, absent, found = 0
    cdef uint64_t ticket
    cdef uint32_t i
    resize(chosen, count)
    for i in range(count):
        ticket = get_u64(named + i * TICKET_BYTES)
        rank = find(now, rank, members, ticket)  # they rise, as the tickets do
        if rank == members or now[rank] != ticket:
            gone += 1
        elif rank <= sender:
            rejected += 1
        else:
            chosen.data.as_uints[found] = rank
            found += 1
    absent = found
    found = without(chosen.data.as_uints, found, away)
    absent -= found
    resize(chosen, found)
    if found:
        return 0, rejected, absent + gone
    return NOT_LOWER if rejected else ABSENT if absent else NO_TARGET, rejected, absent + gone


cdef array present(Py_ssize_t first, Py_ssize_t last, array away):
    """The ranks from `first` to `last - 1` that are not `away`."""
    cdef array ranks = array("I")
    cdef Py_ssize_t i
    resize(ranks, last - first)
    for i in range(last - first):
        ranks.data.as_uints[i] = first + i
    resize(ranks, without(ranks.data.as_uints, last - first, away))
    return ranks


cdef Py_ssize_t without(unsigned int *ranks, Py_ssize_t count, array away) noexcept:
    """Take those that are `away` out of the rising `ranks`; returns how many are left."""
    cdef Py_ssize_t i, other = 0, absent = len(away), left = 0
    if not absent:
        return count
    for i in range(count):
        while other < absent and away.data.as_uints[other] < ranks[i]:
            other += 1
        if other == absent or away.data.as_uints[other] != ranks[i]:
            ranks[left] = ranks[i]
            left += 1
    return left


cdef void lay_execute(
    uint8_t *at, uint64_t seq, uint32_t rank, uint32_t ttl_ms, const CommandEntry *command, const uint8_t *arena, size_t skip
) noexcept nogil:
    """The EXECUTE frame of `command`, at `at`; its payload, without the first `skip` bytes, is from the arena."""
    at = put_head(at, EXECUTE_BODY + command.size - skip, EXECUTE)
    at = put_u32(put_u64(at, seq), rank)
    at[0] = command.flags & RESULTS
    memcpy(put_u32(at + 1, ttl_ms), arena + command.payload + skip, command.size - skip)


cdef int add_load(array loads, Py_ssize_t first, Py_ssize_t last, array chosen) except -1:
    cdef unsigned int *load = loads.data.as_uints
    cdef Py_ssize_t i
    if chosen is None:
        for i in range(first, last):
            load[i] += 1
    else:
        for i in range(len(chosen)):
            load[chosen.data.as_uints[i]] += 1
    return 0


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
