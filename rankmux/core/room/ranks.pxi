# The rank of a ticket, as ranks.py finds it.

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


cdef inline Py_ssize_t rank_now(uint64_t ticket, array tickets):
    """The rank of a ticket that is a member."""
    return find(<uint64_t *> tickets.data.as_ulonglongs, 0, len(tickets), ticket)
