# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The compiled twin of `_framing_py.py`: frames off the wire, as C loops over bytes and file descriptors.

How to read it, for who has never seen Cython: it is Python with C types. `cdef` declares a C variable, function or
struct; `cimport` takes over what a .pxd declares, of ours or of the C library; `<T>x` is a C cast. `nogil` marks what
touches no Python object, so that `with nogil:` can let other threads run meanwhile. Behind a C function, `except -1`
names the value that tells of an exception (`except? 0`: that may), `noexcept` says that there is none. Plain `def` is
the module's surface, the same as the pure twin's, whose docstrings say what it does. The attributes of a class that
other modules look into stand in the .pxd.

Where the time goes: the kernel's `recv` here and its `send` in `_flush.pyx`, once per peer and turn. Around them no
Python object is made per receiver or per result, and only exceptions (short writes, errors, odd frames) come back as
objects. Whatever is odd or rare is handed to the Python code that says in words what is wrong.
"""

from cpython.array cimport array
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, ENOMEM, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from ._layout cimport COMMAND_BODY, HEAD, RESULT_BODY, get_u32, get_u64

from .core.wire import codes
from ._framing_py import Event
from .core.wire.codes import FrameType, Status, Target
from .errors import ProtocolViolation
from .server.sockets.descriptors import READ_DIRECT as _READ_DIRECT
from .system.reactor import HUNG_UP as _HUNG_UP, READABLE as _READABLE, WRITABLE as _WRITABLE
from .core.wire.violations import bad_length, member_frame
from .core.wire.frames import Leave, Pong

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_recv "recv"(int fd, void *buffer, size_t size, int flags)
    int MSG_DONTWAIT

__all__ = ["Batch", "Event", "cut", "receive"]

# The numbers of the wire and of the tables, taken from where they are defined, as C integers.
cdef uint32_t FRAME_OVERHEAD = codes.FRAME_OVERHEAD
cdef uint8_t COMMAND = FrameType.COMMAND, RESULT = FrameType.RESULT
cdef uint8_t ONE = Target.ONE, LEAST = Target.LEAST
cdef uint8_t PART = Status.PART, REJECTED = Status.REJECTED
cdef uint8_t COMMAND_FLAGS = codes.CommandFlag.RESULTS | codes.CommandFlag.QUIET
cdef int HUNG_UP = _HUNG_UP, READABLE = _READABLE, WRITABLE = _WRITABLE
cdef uint8_t READ_DIRECT = _READ_DIRECT


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

cdef int grow(void **items, size_t *capacity, size_t needed, size_t item_bytes) except -1:
    """Make room for `needed` items of so many bytes each; `items` may move, so who points into them looks again."""
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
        # 1. Who is read here, and who is not.
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
    if read < count:  # they come up again in the next turn, so nobody is told of them in this one
        unread = {fd for fd, mask in ready[read:]}
        others = [other for other in others if other[0] not in unread]
    return events, others, read
