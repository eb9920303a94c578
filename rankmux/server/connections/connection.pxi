# The facts of a connection: without an object for each number, and out of the collector's way.

@cython.no_gc  # nothing that it refers to refers back to it
cdef class Facts:
    """As `connection.Facts`."""

    cdef public object transport, address, state, name, keep, reason, detail, broken
    cdef public uint64_t serial, ticket
    cdef public double opened_at, until, pinged_at
    cdef public int fd
    cdef public uint16_t pings
    cdef public uint8_t paused
    cdef public bint detached, observes, watches, input_ended

    def __cinit__(self, transport, uint64_t serial, address, double now):
        self.transport = transport
        self.fd = transport.fileno()
        self.serial = serial
        self.address = address
        self.opened_at = now
        self.state = HANDSHAKE if transport.handshaking else GREETING
        self.name = self.detail = self.broken = ""
