# cython: language_level=3
"""What the other extension modules see of `_ledger.pyx`: the Ledger, which dispatch asks about each command."""

from libc.stdint cimport uint32_t, uint64_t


cdef class Ledger:
    cdef dict waiting  # by seq
    cdef dict by_sender  # by ticket: the seq by command id
    cdef list finished
    cdef readonly Py_ssize_t owed

    cpdef bint waits(self, uint64_t sender, uint32_t id_)
    cpdef Py_ssize_t count(self, uint64_t sender)
