# cython: language_level=3
"""What the other extension modules see of `_framing.pyx`: the Batch, whose entries they read in place."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef struct CommandEntry:
    uint64_t ticket
    size_t payload  # where it begins in the arena; grows with the order of arrival
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


cdef class Batch:
    cdef readonly uint32_t max_payload
    cdef uint8_t *arena
    cdef size_t used, capacity
    cdef CommandEntry *commands
    cdef size_t command_count, command_capacity
    cdef ResultEntry *results
    cdef size_t result_count, result_capacity

    cdef int reserve(self, size_t size) except -1
    cdef bytes bytes_at(self, size_t start, size_t size)
    cdef size_t take(self, uint64_t ticket, size_t cursor, size_t end, list events) except? 0
    cdef bint take_command(self, uint64_t ticket, const uint8_t *body, uint32_t size) except -1
    cdef bint take_result(self, uint64_t ticket, const uint8_t *body, uint32_t size) except -1
