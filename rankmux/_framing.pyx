# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The compiled twin of the hot loops: what `_framing_py.py` defines, as C loops over bytes and file descriptors.

How to read it, for who has never seen Cython: it is Python with C types. `cdef` declares a C variable, function or
struct; `nogil` marks what touches no Python object, so that `with nogil:` can let other threads run meanwhile; `<T>x`
is a C cast. Functions declared with plain `def` are the module's surface, the same as the pure twin's.

Where the time goes, and so what is here: the kernel's `recv` and `send`, once per peer and turn. Around them no Python
object is made per receiver or per result, and only exceptions (short writes, errors, odd frames) come back as objects.
Whatever is odd or rare is handed to the Python code that says in words what is wrong.
"""

from cpython.array cimport array
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, ENOMEM, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcpy, memset

from . import codes
from ._framing_py import Event, Observe
from .codes import FrameType, RefusedCode, Status, Target
from .deliveries import RANK_FRAME_BYTES as _RANK_FRAME_BYTES
from .links import HUNG_UP as _HUNG_UP, READ_DIRECT as _READ_DIRECT, READABLE as _READABLE
from .links import WRITABLE as _WRITABLE, WRITE_DIRECT as _WRITE_DIRECT
from .errors import ProtocolViolation
from .verdicts import bad_length, member_frame, overload, refusal
from .wire import Leave, Pong

cdef extern from "<sys/socket.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t c_recv "recv"(int fd, void *buffer, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    ssize_t c_sendmsg "sendmsg"(int fd, const msghdr *message, int flags)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL

cdef extern from "_uring.h" nogil:
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

__all__ = [
    "Batch",
    "Event",
    "Ledger",
    "Observe",
    "Ring",
    "cut",
    "dispatch",
    "flush",
    "rank_frames",
    "receive",
]

# The numbers of the wire, taken from where they are defined, as C integers.
cdef uint32_t FRAME_OVERHEAD = codes.FRAME_OVERHEAD
cdef uint8_t COMMAND = FrameType.COMMAND, RESULT = FrameType.RESULT, EXECUTE = FrameType.EXECUTE
cdef uint8_t RANK = FrameType.RANK, ACCEPTED = FrameType.ACCEPTED, ROUTED = FrameType.ROUTED, DONE = FrameType.DONE
cdef uint8_t ALL = Target.ALL, ONE = Target.ONE, NEXT = Target.NEXT, LEAST = Target.LEAST
cdef uint8_t PART = Status.PART, EXPIRED = Status.EXPIRED, LEFT = Status.LEFT, REJECTED = Status.REJECTED
cdef int NO_TARGET = RefusedCode.NO_TARGET, NOT_LOWER = RefusedCode.NOT_LOWER
cdef int NO_SUCH_RANK = RefusedCode.NO_SUCH_RANK, BUSY = RefusedCode.BUSY
cdef int DUPLICATE = RefusedCode.DUPLICATE, REFUSED_TOO_BIG = RefusedCode.TOO_BIG
cdef uint8_t RESULTS = codes.CommandFlag.RESULTS, QUIET = codes.CommandFlag.QUIET
cdef uint8_t COMMAND_FLAGS = RESULTS | QUIET
cdef int HUNG_UP = _HUNG_UP, READABLE = _READABLE, WRITABLE = _WRITABLE
cdef uint8_t READ_DIRECT = _READ_DIRECT, WRITE_DIRECT = _WRITE_DIRECT

# Sizes in bytes of the frames that are laid here, head (length and type) and body without the payload.
cdef enum:
    HEAD = 5
    COMMAND_BODY = 14
    RESULT_BODY = 9
    EXECUTE_BODY = 17
    ROUTED_BODY = 17
    RANK_BODY = 17
    ACCEPTED_BODY = 20
    DONE_BODY = 24

if _RANK_FRAME_BYTES != HEAD + RANK_BODY:
    raise ImportError("deliveries.RANK_FRAME_BYTES and the RANK frame that is laid here differ")


# --- Bytes on the wire are big-endian; compilers make one instruction of each of these. ---

cdef inline uint32_t get_u32(const uint8_t *at) noexcept nogil:
    return (<uint32_t> at[0] << 24) | (<uint32_t> at[1] << 16) | (<uint32_t> at[2] << 8) | at[3]


cdef inline uint64_t get_u64(const uint8_t *at) noexcept nogil:
    return (<uint64_t> get_u32(at) << 32) | get_u32(at + 4)


cdef inline uint8_t *put_u32(uint8_t *at, uint32_t value) noexcept nogil:
    at[0] = value >> 24
    at[1] = value >> 16 & 0xFF
    at[2] = value >> 8 & 0xFF
    at[3] = value & 0xFF
    return at + 4


cdef inline uint8_t *put_u64(uint8_t *at, uint64_t value) noexcept nogil:
    return put_u32(put_u32(at, <uint32_t> (value >> 32)), <uint32_t> value)


cdef inline uint8_t *put_head(uint8_t *at, uint32_t body, uint8_t type_) noexcept nogil:
    """The length, which counts the type byte and the body, and the type."""
    at = put_u32(at, body + 1)
    at[0] = type_
    return at + 1


cdef inline uint8_t *extend(bytearray buffer, Py_ssize_t size) except NULL:
    """Make `buffer` longer by `size` bytes; returns where they begin."""
    cdef Py_ssize_t before = PyByteArray_GET_SIZE(buffer)
    PyByteArray_Resize(buffer, before + size)
    return <uint8_t *> PyByteArray_AS_STRING(buffer) + before


cdef inline uint8_t *answer(dict kind, uint64_t ticket, Py_ssize_t size) except NULL:
    """Make what `ticket` gets of that kind longer by `size` bytes; returns where they begin."""
    cdef bytearray buffer = kind.get(ticket)
    if buffer is None:
        buffer = kind[ticket] = bytearray()
    return extend(buffer, size)


cdef inline Py_ssize_t find(const uint64_t *tickets, Py_ssize_t low, Py_ssize_t high, uint64_t ticket) noexcept nogil:
    """Where `ticket` is, or would be, among the rising tickets[low:high]."""
    cdef Py_ssize_t middle
    while low < high:
        middle = (low + high) >> 1
        if tickets[middle] < ticket:
            low = middle + 1
        else:
            high = middle
    return low


def cut(const uint8_t[::1] data, Py_ssize_t max_length):
    """As `_framing_py.cut`."""
    cdef list frames = []
    cdef Py_ssize_t cursor = 0, end = data.shape[0]
    cdef const uint8_t *at
    cdef uint32_t length
    while end - cursor >= 4:
        at = &data[cursor]
        length = get_u32(at)
        if length == 0 or length > max_length:
            return frames, cursor, bad_length(length, max_length)
        if end - cursor - 4 < length:
            break
        frames.append((at[4], PyBytes_FromStringAndSize(<const char *> at + HEAD, length - 1)))
        cursor += 4 + length
    return frames, cursor, None


# --- What a turn takes from its members. ---

cdef struct CommandEntry:
    uint64_t ticket
    size_t payload  # where in the arena; grows with the order of arrival
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


cdef int by_seniority(const void *a, const void *b) noexcept nogil:
    """Tickets grow with the ranks; one sender's commands stay in the order in which they came."""
    cdef const CommandEntry *left = <const CommandEntry *> a
    cdef const CommandEntry *right = <const CommandEntry *> b
    if left.ticket != right.ticket:
        return -1 if left.ticket < right.ticket else 1
    return -1 if left.payload < right.payload else 1


cdef int grow(void **items, size_t *capacity, size_t needed, size_t item_bytes) except -1:
    """Make room for `needed` items of so many bytes each."""
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


cdef size_t ARENA_KEPT = 4 << 20  # bytes; some turns' worth with the default budgets


cdef class Batch:
    """As `_framing_py.Batch`. All bytes of a turn lie in one arena; entries say where in it their payloads are."""

    cdef readonly uint32_t max_payload
    cdef uint8_t *arena
    cdef size_t used, capacity
    cdef CommandEntry *commands
    cdef size_t command_count, command_capacity
    cdef ResultEntry *results
    cdef size_t result_count, result_capacity

    def __cinit__(self, uint32_t max_payload):
        self.max_payload = max_payload

    def __dealloc__(self):
        free(self.arena)
        free(self.commands)
        free(self.results)

    def __len__(self):
        return self.command_count + self.result_count

    def entries(self):
        """As `_framing_py.Batch.entries`."""
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

    def clear(self):
        """As `_framing_py.Batch.clear`."""
        self.used = self.command_count = self.result_count = 0
        if self.capacity > ARENA_KEPT:  # there was a large frame: do not hold on to its memory
            free(self.arena)
            self.arena = NULL
            self.capacity = 0

    def feed(self, uint64_t ticket, const uint8_t[::1] data):
        """As `_framing_py.Batch.feed`."""
        cdef list events = []
        cdef size_t size = data.shape[0], start = self.used
        if size:
            self.reserve(size)
            memcpy(self.arena + start, &data[0], size)
            self.used += size
        return self.take(ticket, start, self.used, events) - start, events

    cdef int reserve(self, size_t size) except -1:
        """Make room for so many bytes more in the arena."""
        return grow(<void **> &self.arena, &self.capacity, self.used + size, 1)

    cdef bytes bytes_at(self, size_t start, size_t size):
        return PyBytes_FromStringAndSize(<const char *> self.arena + start, size)

    cdef size_t take(self, uint64_t ticket, size_t cursor, size_t end, list events) except? 0:
        """Enter the whole frames of arena[cursor:end]; returns how far that went."""
        cdef uint32_t length, max_length = self.max_payload + FRAME_OVERHEAD
        cdef size_t stop
        cdef const uint8_t *at
        while end - cursor >= 4:
            at = self.arena + cursor
            length = get_u32(at)
            if length == 0 or length > max_length:
                events.append(bad_length(length, max_length))
                return end
            stop = cursor + 4 + length
            if stop > end:
                break
            if at[4] == COMMAND and length > COMMAND_BODY and self.take_command(ticket, at + HEAD, length - 1):
                cursor = stop
                continue
            if at[4] == RESULT and length > RESULT_BODY and self.take_result(ticket, at + HEAD, length - 1):
                cursor = stop
                continue
            try:
                frame = member_frame(at[4], self.bytes_at(cursor + HEAD, length - 1), self.max_payload)
            except ProtocolViolation as breach:
                events.append(breach)
                return end
            cursor = stop
            if isinstance(frame, Pong):
                continue
            events.append(frame)
            if isinstance(frame, Leave):
                return end
        return cursor

    cdef bint take_command(self, uint64_t ticket, const uint8_t *body, uint32_t size) except -1:
        """Enter a COMMAND, or leave it to the words if something is odd about it."""
        cdef CommandEntry *entry
        cdef uint8_t target = body[4], flags = body[9]
        cdef uint32_t arg = get_u32(body + 5)
        if target > LEAST or flags & ~COMMAND_FLAGS or (arg and target != ONE):
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
        return True

    cdef bint take_result(self, uint64_t ticket, const uint8_t *body, uint32_t size) except -1:
        """Enter a RESULT, or leave it to the words if something is odd about it."""
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
    """As `_framing_py.receive`."""
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
    if read < count:
        unread = {fd for fd, mask in ready[read:]}
        others = [other for other in others if other[0] not in unread]
    return events, others, read


# --- Results. ---

cdef class Waiting:
    """A dispatched command that waits for the results of `size` tickets, who had the ranks from `first` on."""

    cdef uint64_t seq, sender
    cdef uint32_t id
    cdef array held  # never changes, so its memory may be pointed into
    cdef const uint64_t *tickets
    cdef Py_ssize_t first, size, remaining
    cdef uint8_t *answered
    cdef uint32_t[5] counts

    def __cinit__(self, uint64_t seq, uint64_t sender, uint32_t id_, array snapshot, Py_ssize_t first, Py_ssize_t last):
        self.seq = seq
        self.sender = sender
        self.id = id_
        self.held = snapshot[first:last]  # no more: all of a large room is much to keep for one executor
        self.tickets = <const uint64_t *> self.held.data.as_ulonglongs
        self.first = first
        self.size = self.remaining = last - first
        memset(self.counts, 0, sizeof(self.counts))
        self.answered = <uint8_t *> malloc(self.size)
        if self.answered == NULL:
            raise MemoryError
        memset(self.answered, 0, self.size)

    def __dealloc__(self):
        free(self.answered)

    cdef Py_ssize_t owing(self, uint64_t ticket) noexcept:
        """Where `ticket` is among those asked, if it still owes a result; else -1."""
        cdef Py_ssize_t at = find(self.tickets, 0, self.size, ticket)
        if at == self.size or self.tickets[at] != ticket or self.answered[at]:
            return -1
        return at


cdef class Ledger:
    """As `_framing_py.Ledger`."""

    cdef dict waiting, by_sender
    cdef list finished
    cdef readonly Py_ssize_t owed

    def __cinit__(self):
        self.waiting = {}
        self.by_sender = {}
        self.finished = []

    def __len__(self):
        return len(self.waiting)

    def __contains__(self, seq):
        return seq in self.waiting

    cpdef bint waits(self, uint64_t sender, uint32_t id_):
        """As `_framing_py.Ledger.waits`."""
        if not self.by_sender:
            return False
        ids = self.by_sender.get(sender)
        return ids is not None and id_ in ids

    cpdef Py_ssize_t count(self, uint64_t sender):
        """As `_framing_py.Ledger.count`."""
        ids = self.by_sender.get(sender)
        return 0 if ids is None else len(ids)

    def open(self, uint64_t seq, uint64_t sender, uint32_t id_, array tickets, Py_ssize_t first, Py_ssize_t last):
        """As `_framing_py.Ledger.open`."""
        self.waiting[seq] = Waiting(seq, sender, id_, tickets, first, last)
        self.by_sender.setdefault(sender, {})[id_] = seq
        self.owed += last - first

    def settle(self, Batch batch, array tickets, array loads, dict routed):
        """As `_framing_py.Ledger.settle`."""
        cdef Py_ssize_t dropped = 0, at
        cdef size_t i
        cdef ResultEntry *entry
        cdef Waiting waiting = None
        cdef uint64_t asked = 0  # the seq that `waiting` was looked up for; most results of a turn answer the same
        cdef uint64_t *now = <uint64_t *> tickets.data.as_ulonglongs
        cdef Py_ssize_t members = len(tickets)
        for i in range(batch.result_count):
            entry = &batch.results[i]
            if entry.seq != asked:
                waiting = self.waiting.get(entry.seq)
                asked = entry.seq
            at = -1 if waiting is None else waiting.owing(entry.ticket)
            if at < 0:
                dropped += 1
                continue
            self.route(waiting, at, entry.status, batch.arena + entry.payload, entry.size, routed)
            if entry.status != PART:
                loads.data.as_uints[find(now, 0, members, entry.ticket)] -= 1
        return dropped

    def leave(self, gone, dict routed):
        """As `_framing_py.Ledger.leave`."""
        cdef array tickets = array("Q", gone)
        cdef const uint64_t *leaving = <const uint64_t *> tickets.data.as_ulonglongs
        cdef Py_ssize_t i, at, count = len(tickets)
        cdef Waiting waiting
        for waiting in list(self.waiting.values()):
            for i in range(find(leaving, 0, count, waiting.tickets[0]), count):
                if leaving[i] > waiting.tickets[waiting.size - 1]:
                    break
                at = waiting.owing(leaving[i])
                if at >= 0:
                    self.route(waiting, at, LEFT, NULL, 0, routed)

    def expire(self, uint64_t seq, array tickets, array loads, dict routed):
        """As `_framing_py.Ledger.expire`."""
        cdef Waiting waiting = self.waiting.get(seq)
        cdef Py_ssize_t at
        if waiting is None:
            return
        for at in range(waiting.size):
            if not waiting.answered[at]:
                loads.data.as_uints[rank_now(waiting.tickets[at], tickets)] -= 1
                self.route(waiting, at, EXPIRED, NULL, 0, routed)

    def forget(self, uint64_t sender, array tickets, array loads):
        """As `_framing_py.Ledger.forget`."""
        cdef Waiting waiting
        cdef Py_ssize_t at
        for seq in self.by_sender.pop(sender, {}).values():
            waiting = self.waiting.pop(seq)
            self.owed -= waiting.remaining
            for at in range(waiting.size):
                if not waiting.answered[at]:
                    loads.data.as_uints[rank_now(waiting.tickets[at], tickets)] -= 1

    def finish(self, dict done):
        """As `_framing_py.Ledger.finish`."""
        cdef Waiting waiting
        cdef uint8_t *at
        cdef int status
        cdef list finished = self.finished
        self.finished = []
        finished.sort(key=_seq_of)
        for waiting in finished:
            at = put_head(answer(done, waiting.sender, HEAD + DONE_BODY), DONE_BODY, DONE)
            at = put_u32(at, waiting.id)
            for status in range(5):
                at = put_u32(at, waiting.counts[status])
        return len(finished)

    cdef int route(
        self, Waiting waiting, Py_ssize_t at, uint8_t status, const uint8_t *payload, uint32_t size, dict routed
    ) except -1:
        """Lay ROUTED for the executor that is `at` that place; close its account unless more follows."""
        cdef uint8_t *to = answer(routed, waiting.sender, HEAD + ROUTED_BODY + size)
        to = put_head(to, ROUTED_BODY + size, ROUTED)
        to = put_u32(to, waiting.id)
        to = put_u64(to, waiting.tickets[at])
        to = put_u32(to, waiting.first + at)
        to[0] = status
        if size:
            memcpy(to + 1, payload, size)
        if status == PART:
            return 0
        waiting.answered[at] = 1
        waiting.counts[status] += 1
        waiting.remaining -= 1
        self.owed -= 1
        if not waiting.remaining:
            del self.waiting[waiting.seq]
            ids = self.by_sender[waiting.sender]
            del ids[waiting.id]
            if not ids:
                del self.by_sender[waiting.sender]
            self.finished.append(waiting)
        return 0


def _seq_of(Waiting waiting):
    return waiting.seq


cdef inline Py_ssize_t rank_now(uint64_t ticket, array tickets):
    """The rank of a ticket that is a member."""
    return find(<uint64_t *> tickets.data.as_ulonglongs, 0, len(tickets), ticket)


# --- Commands. ---

def dispatch(
    Batch batch,
    array tickets,
    array snapshot,
    array loads,
    Ledger ledger,
    deliveries,
    uint64_t seq,
    Py_ssize_t waiting_max,
    Py_ssize_t waiting_total_max,
    uint32_t result_ttl_ms,
    observe,
):
    """As `_framing_py.dispatch`."""
    cdef bytearray executes = deliveries.executes
    cdef list steps = deliveries.steps, opened = [], refused = []
    cdef dict directed = deliveries.directed, accepted = deliveries.accepted
    cdef Py_ssize_t members = len(tickets), rank = 0, first, last, rejected
    cdef Py_ssize_t executions = 0, step_rank = -1  # the sender whose step is the last one
    cdef uint64_t ticket = 0
    cdef uint32_t ttl_ms
    cdef CommandEntry *command
    cdef size_t i
    cdef int code
    cdef uint8_t *at
    cdef bytes frame
    cdef list splices
    for i in range(1, batch.command_count):
        if by_seniority(&batch.commands[i - 1], &batch.commands[i]) > 0:
            qsort(batch.commands, batch.command_count, sizeof(CommandEntry), by_seniority)
            break
    for i in range(batch.command_count):
        command = &batch.commands[i]
        if command.ticket != ticket:
            ticket = command.ticket
            rank = rank_now(ticket, tickets)
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
            ledger.open(seq, ticket, command.id, snapshot, first, last)
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
            frame = PyBytes_FromStringAndSize(NULL, HEAD + EXECUTE_BODY + command.size)
            lay_execute(<uint8_t *> <char *> frame, seq, rank, ttl_ms, command, batch.arena)
            receiver = first
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
    return seq, opened, refused


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
                break
            if load[other] < load[least]:
                least = other
        return 0, least, least + 1
    return 0, first, members


cdef void lay_execute(
    uint8_t *at, uint64_t seq, uint32_t rank, uint32_t ttl_ms, const CommandEntry *command, const uint8_t *arena
) noexcept nogil:
    at = put_head(at, EXECUTE_BODY + command.size, EXECUTE)
    at = put_u32(put_u64(at, seq), rank)
    at[0] = command.flags & RESULTS
    memcpy(put_u32(at + 1, ttl_ms), arena + command.payload, command.size)


cdef void add_load(array loads, Py_ssize_t first, Py_ssize_t last):
    cdef unsigned int *load = loads.data.as_uints
    cdef Py_ssize_t rank
    for rank in range(first, last):
        load[rank] += 1


# --- Departures. ---

def rank_frames(list departed, list causes, Py_ssize_t survivors, uint64_t seq):
    """As `_framing_py.rank_frames`."""
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


# --- Sending. ---

cdef struct Own:
    Py_ssize_t rank
    size_t start  # in the scratch buffer
    size_t size


cdef struct Behind:
    Py_ssize_t rank
    ssize_t sent
    int error


cdef struct Pending:
    Py_ssize_t rank
    const uint8_t *first
    size_t first_size
    const uint8_t *second
    size_t second_size


cdef struct Flush:
    const int *peers
    const char *modes
    const uint8_t *executes
    const uint8_t *rank_frames
    const Py_ssize_t *departed
    Py_ssize_t departed_count
    Behind *behind
    Py_ssize_t behind_count
    uring *ring  # NULL: each is sent at once
    Pending *pending  # what has been put into the ring
    bint broken


cdef class Ring:
    """As `_framing_py.Ring`. It is opened by the first turn that can use it, in the thread that runs the turns."""

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
        """As `_framing_py.Ring.open`."""
        return self.ring != NULL

    def close(self):
        """As `_framing_py.Ring.close`."""
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


cdef void note_behind(Flush *flush, Py_ssize_t rank, ssize_t sent, int error) noexcept nogil:
    """What came of a send to `rank` that did not take everything. The errors that pass are none."""
    cdef Behind *behind = &flush.behind[flush.behind_count]
    flush.behind_count += 1
    behind.rank = rank
    behind.sent = sent
    behind.error = 0 if error == EAGAIN or error == EINTR else error


cdef void send_now(Flush *flush, const Pending *one) noexcept nogil:
    """Send the two pieces in one call, and note it if not all of them went out."""
    cdef iovec[2] pieces
    cdef msghdr message
    cdef ssize_t sent
    cdef int fd = flush.peers[one.rank]
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
        note_behind(flush, one.rank, 0, errno)
    elif sent != <ssize_t> (one.first_size + one.second_size):
        note_behind(flush, one.rank, sent, 0)


cdef void run_ring(Flush *flush) noexcept nogil:
    """Send what waits in the ring, and note who did not take everything."""
    cdef Py_ssize_t i, count = flush.ring.count
    cdef const Pending *one
    cdef int result
    if not count:
        return
    flush.broken = uring_run(flush.ring) < 0 or flush.broken
    for i in range(count):
        one = &flush.pending[i]
        result = flush.ring.results[i]
        if result == URING_NOT_SENT:
            send_now(flush, one)
        elif result < 0:
            note_behind(flush, one.rank, 0, -result)
        elif result != <ssize_t> (one.first_size + one.second_size):
            note_behind(flush, one.rank, result, 0)


cdef void send_one(
    Flush *flush, Py_ssize_t rank, const uint8_t *first, size_t first_size, const uint8_t *second, size_t second_size
) noexcept nogil:
    """Send the two pieces to `rank` in one call, now or with the others in the ring."""
    cdef Pending one
    if not flush.modes[flush.peers[rank]] & WRITE_DIRECT:
        note_behind(flush, rank, 0, 0)
        return
    one.rank = rank
    one.first = first
    one.first_size = first_size
    one.second = second
    one.second_size = second_size
    if flush.ring == NULL or flush.broken:
        send_now(flush, &one)
        return
    flush.pending[flush.ring.count] = one
    uring_put(flush.ring, flush.peers[rank], first, first_size, second, second_size)
    if flush.ring.count == URING_ENTRIES:
        run_ring(flush)


cdef const uint8_t *rank_frame(const Flush *flush, Py_ssize_t rank, Py_ssize_t *before) noexcept nogil:
    """The RANK frame for who was at `rank`, or NULL. `before` counts the departed before it and only ever grows."""
    while before[0] < flush.departed_count and flush.departed[before[0]] < rank:
        before[0] += 1
    if not before[0] or (before[0] < flush.departed_count and flush.departed[before[0]] == rank):
        return NULL
    return flush.rank_frames + (rank - before[0] - flush.departed[0]) * (HEAD + RANK_BODY)


cdef void send_range(Flush *flush, Py_ssize_t first, Py_ssize_t last, size_t prefix, Py_ssize_t *before) noexcept nogil:
    """Send the ranks first to last - 1 the same prefix, and each its RANK frame if there is one."""
    cdef Py_ssize_t rank
    cdef const uint8_t *own
    if not prefix and not flush.departed_count:
        return
    for rank in range(first, last):
        own = rank_frame(flush, rank, before)
        if prefix or own != NULL:
            send_one(flush, rank, flush.executes, prefix, own, HEAD + RANK_BODY if own != NULL else 0)


cdef Own lay_own(
    Flush *flush, bytearray scratch, Py_ssize_t rank, size_t prefix, Py_ssize_t *before, list splices, tail
) except *:
    """Lay all that `rank` gets one behind the other: the prefix with its splices at their places, RANK, its answers."""
    cdef Own own
    cdef size_t start = 0, at
    cdef tuple splice
    cdef bytes frame
    cdef const uint8_t *moved = rank_frame(flush, rank, before)
    own.rank = rank
    own.start = PyByteArray_GET_SIZE(scratch)
    if splices is not None:
        for splice in splices:
            at = splice[0]
            frame = splice[1]
            if start < at:
                memcpy(extend(scratch, at - start), flush.executes + start, at - start)
                start = at
            memcpy(extend(scratch, len(frame)), <const char *> frame, len(frame))
    if start < prefix:
        memcpy(extend(scratch, prefix - start), flush.executes + start, prefix - start)
    if moved != NULL:
        memcpy(extend(scratch, HEAD + RANK_BODY), moved, HEAD + RANK_BODY)
    if tail is not None:
        scratch += tail
    own.size = PyByteArray_GET_SIZE(scratch) - own.start
    return own


def flush(deliveries, array tickets, array peers, dict tails, links, Ring ring):
    """As `_framing_py.flush`."""
    cdef Flush flush
    cdef bytearray modes = links.modes, executes = deliveries.executes, frames = deliveries.rank_frames
    cdef bytearray scratch = bytearray()
    cdef dict tail_of = {rank_now(ticket, tickets): tail for ticket, tail in tails.items()}
    cdef dict directed = deliveries.directed
    cdef list ranks = sorted({*directed, *tail_of} if tail_of else directed), steps = deliveries.steps
    cdef Py_ssize_t members = len(tickets), owns = len(ranks), stepped = len(steps)
    cdef Py_ssize_t i, step = 0, rank = 0, before = 0, upto
    cdef size_t prefix = 0
    cdef Py_ssize_t *bounds = NULL
    cdef Own *own = NULL
    cdef const uint8_t *laid
    memset(&flush, 0, sizeof(flush))
    flush.departed_count = len(deliveries.departed)
    try:
        own = <Own *> malloc((owns + 1) * sizeof(Own))
        flush.behind = <Behind *> malloc((members + 1) * sizeof(Behind))
        # the departed ranks, then rank and end of each step
        bounds = <Py_ssize_t *> malloc((flush.departed_count + 2 * stepped + 1) * sizeof(Py_ssize_t))
        if own == NULL or flush.behind == NULL or bounds == NULL:
            raise MemoryError
        for i in range(flush.departed_count):
            bounds[i] = deliveries.departed[i]
        flush.departed = bounds
        bounds += flush.departed_count
        for i in range(stepped):
            bounds[2 * i], bounds[2 * i + 1] = steps[i]
        if members >= ring.members_min:
            flush.ring = ring.get()
            flush.pending = ring.pending
        flush.peers = peers.data.as_ints
        flush.modes = PyByteArray_AS_STRING(modes)
        flush.executes = <const uint8_t *> PyByteArray_AS_STRING(executes)
        flush.rank_frames = <const uint8_t *> PyByteArray_AS_STRING(frames)
        for i in range(owns):
            rank = ranks[i]
            while step < stepped and bounds[2 * step] < rank:
                prefix = bounds[2 * step + 1]
                step += 1
            own[i] = lay_own(&flush, scratch, rank, prefix, &before, directed.get(rank), tail_of.get(rank))
        laid = <const uint8_t *> PyByteArray_AS_STRING(scratch)
        i = step = rank = before = 0
        prefix = 0
        with nogil:
            while rank < members:  # from one step to the next the prefix is the same
                upto = bounds[2 * step] + 1 if step < stepped else members
                while i < owns and own[i].rank < upto:
                    send_range(&flush, rank, own[i].rank, prefix, &before)
                    if own[i].size:
                        send_one(&flush, own[i].rank, laid + own[i].start, own[i].size, NULL, 0)
                    rank = own[i].rank + 1
                    i += 1
                send_range(&flush, rank, upto, prefix, &before)
                rank = upto
                if step < stepped:
                    prefix = bounds[2 * step + 1]
                step += 1
            if flush.ring != NULL:
                run_ring(&flush)
        if flush.broken:
            ring.close()
        behind = [(flush.behind[i].rank, flush.behind[i].sent, flush.behind[i].error) for i in range(flush.behind_count)]
        if flush.ring != NULL:
            behind.sort()
        return behind
    finally:
        free(<void *> flush.departed if flush.departed != NULL else bounds)
        free(flush.behind)
        free(own)
