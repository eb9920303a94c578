# The commands and results of one turn. All their bytes are in one arena.

cdef struct CommandEntry:
    uint64_t ticket
    size_t payload  # where it begins in the arena; increases in the order of arrival
    uint32_t size
    uint32_t id
    uint32_t arg
    uint32_t ttl_ms
    uint8_t target
    uint8_t flags


cdef struct ResultEntry:
    uint64_t ticket
    uint64_t seq
    size_t payload
    uint32_t size
    uint8_t status


cdef int grow(void **items, size_t *capacity, size_t needed, size_t item_bytes) except -1:
    """Make room for `needed` items of `item_bytes` each; `items` may move, so pointers into it are not valid any more."""
    cdef size_t more = capacity[0] * 2 if capacity[0] else 64
    cdef void *larger
    if needed <= capacity[0]:
        return 0
    if more < needed:
        more = needed
    larger = realloc(items[0], more * item_bytes)
    if larger == NULL:
        raise MemoryError
    items[0] = larger
    capacity[0] = more
    return 0


cdef inline bint is_for_others(uint8_t type_) noexcept:
    """Whether a frame of that type can cause output to other members."""
    return type_ == COMMAND or type_ == RESULT


cdef inline bint is_leave(const uint8_t *at, size_t size) noexcept:
    """Whether the next frame is a LEAVE."""
    return size >= HEAD and get_u32(at) == 1 and at[LENGTH_BYTES] == LEAVE_TYPE


cdef bint is_set(const uint8_t *payload, uint32_t size, uint32_t count) noexcept:
    """Whether `payload` begins with `count` rising tickets, at least one."""
    cdef uint32_t i
    if not count or count > size // TICKET_BYTES:
        return False
    for i in range(1, count):
        if get_u64(payload + (i - 1) * TICKET_BYTES) >= get_u64(payload + i * TICKET_BYTES):
            return False
    return True


cdef size_t ARENA_KEPT = 4 << 20  # bytes; some turns' worth with the default budgets


cdef class Batch:
    """As `batch.Batch`. All bytes of a turn are in one arena; entries hold the offsets of their payloads."""

    cdef readonly uint32_t max_payload
    cdef uint8_t *arena
    cdef size_t used, capacity
    cdef CommandEntry *commands
    cdef size_t command_count, command_capacity
    cdef ResultEntry *results
    cdef size_t result_count, result_capacity
    cdef readonly long long work_left, bytes_left, shared_left, listed_left, members

    def __cinit__(self, uint32_t max_payload):
        self.max_payload = max_payload
        self.work_left = self.bytes_left = self.shared_left = self.listed_left = UNLIMITED

    def __dealloc__(self):
        free(self.arena)
        free(self.commands)
        free(self.results)

    def allow(self, long long work, long long size, long long shared, long long listed, long long members):
        """As `batch.Batch.allow`."""
        self.work_left, self.bytes_left, self.shared_left = work, size, shared
        self.listed_left, self.members = listed, members

    def spend(self, long long work):
        """As `batch.Batch.spend`."""
        self.work_left -= work

    def __len__(self):
        return self.command_count + self.result_count

    def entries(self):
        """As `batch.Batch.entries`."""
        cdef size_t i
        cdef CommandEntry *c
        cdef ResultEntry *r
        cdef list commands = [], results = []
        for i in range(self.command_count):
            c = &self.commands[i]
            commands.append((c.ticket, c.id, c.target, c.arg, c.flags, c.ttl_ms, self.bytes_at(c.payload, c.size)))
        for i in range(self.result_count):
            r = &self.results[i]
            results.append((r.ticket, r.seq, r.status, self.bytes_at(r.payload, r.size)))
        return commands, results

    def frames(self):
        """As `batch.Batch.frames`. The arena has them in the order of arrival."""
        cdef size_t i, head
        cdef CommandEntry *c
        cdef ResultEntry *r
        cdef list found = []
        for i in range(self.result_count):
            r = &self.results[i]
            head = HEAD + RESULT_BODY
            found.append((r.ticket, self.bytes_at(r.payload - head, head + r.size), -1))
        for i in range(self.command_count):
            c = &self.commands[i]
            head = HEAD + (BATON_BODY if c.target == BATON_WRITE else COMMAND_BODY)
            found.append((c.ticket, self.bytes_at(c.payload - head, head + c.size), c.arg if c.target == ONE else -1))
        return found

    def encode(self):
        """As `batch.Batch.encode`."""
        return encode(self.frames())

    def decode(self, data):
        """As `batch.Batch.decode`."""
        for ticket, frames in runs(data):
            taken, events = self.feed(ticket, frames)
            check_run(frames, taken, events)

    def clear(self):
        """As `batch.Batch.clear`."""
        self.used = self.command_count = self.result_count = 0
        if self.capacity > ARENA_KEPT:  # there was a large frame: do not hold on to its memory
            free(self.arena)
            self.arena = NULL
            self.capacity = 0

    def feed(self, uint64_t ticket, const uint8_t[::1] data, long long share=UNLIMITED):
        """As `batch.Batch.feed`."""
        cdef list events = []
        cdef size_t size = 0, start = self.used, taken
        if data.shape[0]:
            size = self.takeable(&data[0], data.shape[0], share)
        if size:
            self.reserve(size)
            memcpy(self.arena + start, &data[0], size)
            self.used += size
        taken = self.take(ticket, start, self.used, events, share) - start
        self.used = start + taken
        if events and isinstance(events[len(events) - 1], (Leave, ProtocolViolation)):
            return data.shape[0], events
        return taken, events

    cdef size_t takeable(self, const uint8_t *data, size_t size, long long share) noexcept:
        """The upper bound of the bytes that `take` would consume: no more need to be in the arena."""
        cdef size_t cursor = 0, stop
        cdef uint32_t length
        if share > self.work_left:
            share = self.work_left
        while share > 0 and size - cursor >= LENGTH_BYTES:
            length = get_u32(data + cursor)
            if length == 0 or length > self.max_payload + FRAME_OVERHEAD:
                return cursor + LENGTH_BYTES  # a breach, visible from the length alone
            stop = cursor + LENGTH_BYTES + length
            if stop > size:
                break
            if <long long> cursor >= self.bytes_left and is_for_others(data[cursor + LENGTH_BYTES]):
                break
            cursor = stop
            share -= 1
        return cursor

    cdef int reserve(self, size_t size) except -1:
        """Make room for `size` bytes more in the arena."""
        return grow(<void **> &self.arena, &self.capacity, self.used + size, 1)

    cdef bytes bytes_at(self, size_t start, size_t size):
        return PyBytes_FromStringAndSize(<const char *> self.arena + start, size)

    cdef size_t take(self, uint64_t ticket, size_t cursor, size_t end, list events, long long share) except? 0:
        """Enter whole frames of arena[cursor:end] while there is room for them; returns how far that went."""
        cdef uint32_t length, max_length = self.max_payload + FRAME_OVERHEAD
        cdef size_t stop
        cdef long long least_left = max(0, self.work_left - share)
        cdef const uint8_t *at
        cdef bint observer = ticket >= OBSERVERS
        while end - cursor >= LENGTH_BYTES and self.work_left > least_left:
            at = self.arena + cursor
            length = get_u32(at)
            if length == 0 or length > max_length:
                events.append(bad_length(length, max_length))
                return end
            stop = cursor + LENGTH_BYTES + length
            if stop > end:
                break
            if self.bytes_left <= 0 and is_for_others(at[LENGTH_BYTES]):
                break
            if at[LENGTH_BYTES] == COMMAND and length > COMMAND_BODY and not observer:
                if (at[HEAD + 4] == ALL or at[HEAD + 4] == SET) and self.shared_left <= 0:
                    break
                if self.take_command(ticket, at + HEAD, length - 1):
                    cursor = stop
                    continue
            if at[LENGTH_BYTES] == RESULT and length > RESULT_BODY and not observer and self.take_result(ticket, at + HEAD, length - 1):
                self.work_left -= 1
                self.bytes_left -= stop - cursor
                cursor = stop
                continue
            try:
                judge = observer_frame if observer else member_frame
                frame = judge(at[LENGTH_BYTES], self.bytes_at(cursor + HEAD, length - 1), self.max_payload)
            except ProtocolViolation as breach:
                events.append(breach)
                return end
            if isinstance(frame, SetBaton):
                self.take_baton(ticket, frame.id, cursor + HEAD + BATON_BODY, stop)
                self.work_left -= OTHER_WORK
                self.bytes_left -= stop - cursor
                cursor = stop
                continue
            if isinstance(frame, Who) and not self.may_list(frame):
                break
            self.work_left -= OTHER_WORK
            self.bytes_left -= stop - cursor
            cursor = stop
            if isinstance(frame, Pong):
                continue
            events.append(frame)
            if isinstance(frame, Leave):
                return end
            if isinstance(frame, Yield) and not is_leave(self.arena + cursor, end - cursor):
                break  # the frames after it are sent from another rank
        return cursor

    cdef bint may_list(self, who) except -1:
        """As `batch.Batch._may_list`."""
        if self.listed_left <= 0:
            return False
        self.listed_left -= 1 + max(0, min(who.count, self.members - who.first_rank))
        return True

    cdef bint take_command(self, uint64_t ticket, const uint8_t *body, uint32_t size) except -1:
        """Enter a COMMAND; an invalid one is left to the slow path, which reports the error."""
        cdef CommandEntry *entry
        cdef uint8_t target = body[4], flags = body[9]
        cdef uint32_t arg = get_u32(body + 5)
        if target > SET or flags & ~<uint8_t> (RESULTS | QUIET | TIED) or flags & (RESULTS | TIED) == TIED:
            return False
        if arg and target != ONE and target != SET:
            return False
        if target == SET and not is_set(body + COMMAND_BODY, size - COMMAND_BODY, arg):
            return False
        grow(<void **> &self.commands, &self.command_capacity, self.command_count + 1, sizeof(CommandEntry))
        entry = &self.commands[self.command_count]
        self.command_count += 1
        entry.ticket = ticket
        entry.id = get_u32(body)
        entry.target = target
        entry.arg = arg
        entry.flags = flags
        entry.ttl_ms = get_u32(body + 10)
        entry.payload = body + COMMAND_BODY - self.arena
        entry.size = size - COMMAND_BODY
        size += HEAD
        self.bytes_left -= size
        self.work_left -= WAITING_WORK if flags & RESULTS else 1
        if target == ALL:
            self.shared_left -= size
        elif target == SET:
            self.work_left -= arg
            self.shared_left -= size * min(<long long> arg, self.members) // max(1, self.members)
        return True

    cdef int take_baton(self, uint64_t ticket, uint32_t id_, size_t payload, size_t end) except -1:
        """Enter a BATON in its place among the commands."""
        cdef CommandEntry *entry
        grow(<void **> &self.commands, &self.command_capacity, self.command_count + 1, sizeof(CommandEntry))
        entry = &self.commands[self.command_count]
        self.command_count += 1
        memset(entry, 0, sizeof(CommandEntry))
        entry.ticket = ticket
        entry.id = id_
        entry.target = BATON_WRITE
        entry.payload = payload
        entry.size = end - payload
        return 0

    cdef bint take_result(self, uint64_t ticket, const uint8_t *body, uint32_t size) except -1:
        """Enter a RESULT; an invalid one is left to the slow path, which reports the error."""
        cdef ResultEntry *entry
        cdef uint8_t status = body[8]
        if (status > REJECTED and status != PART) or size > self.max_payload + RESULT_BODY:
            return False
        grow(<void **> &self.results, &self.result_capacity, self.result_count + 1, sizeof(ResultEntry))
        entry = &self.results[self.result_count]
        self.result_count += 1
        entry.ticket = ticket
        entry.seq = get_u64(body)
        entry.status = status
        entry.payload = body + RESULT_BODY - self.arena
        entry.size = size - RESULT_BODY
        return True
