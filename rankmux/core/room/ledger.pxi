# The results that executors owe to commands.

@cython.no_gc  # it refers to no objects: a million of them cost the collector nothing
cdef class Waiting:
    """A dispatched command that waits for the results of `size` tickets, which had the ranks from `first` on, or `ranks`.

    `answered` is as in `ledger._Waiting`.
    """

    cdef uint64_t seq, sender
    cdef void *before  # the neighbours among the commands with the same single executor, which `Ledger.waiting` holds
    cdef void *after
    cdef uint32_t id
    cdef bint tied
    cdef uint64_t *tickets
    cdef uint64_t[2] single  # the ticket and the mark of a single executor: no memory of its own for these
    cdef uint32_t *ranks  # NULL: from `first` on
    cdef Py_ssize_t first, size, remaining, untold
    cdef uint8_t *answered
    cdef uint32_t[6] counts

    def __cinit__(
        self,
        uint64_t seq,
        uint64_t sender,
        uint32_t id_,
        bint tied,
        array tickets,
        Py_ssize_t first,
        Py_ssize_t last,
        array chosen,
    ):
        cdef Py_ssize_t at
        self.seq = seq
        self.sender = sender
        self.id = id_
        self.tied = tied
        self.first = first
        self.size = self.remaining = last - first if chosen is None else len(chosen)
        self.untold = 0
        memset(self.counts, 0, sizeof(self.counts))
        # No more than these tickets: all of a large room is much to keep for one executor.
        self.ranks = NULL
        if self.size == 1:
            if chosen is not None:
                self.first = chosen.data.as_uints[0]
            self.tickets = self.single
            self.tickets[0] = tickets.data.as_ulonglongs[self.first]
            self.answered = <uint8_t *> (self.tickets + 1)
            self.answered[0] = 0
            return
        self.tickets = <uint64_t *> malloc(self.size * (sizeof(uint64_t) + 1 + (0 if chosen is None else sizeof(uint32_t))))
        if self.tickets == NULL:
            raise MemoryError
        if chosen is None:
            memcpy(self.tickets, tickets.data.as_ulonglongs + first, self.size * sizeof(uint64_t))
            self.answered = <uint8_t *> (self.tickets + self.size)
        else:
            self.ranks = <uint32_t *> (self.tickets + self.size)
            self.answered = <uint8_t *> (self.ranks + self.size)
            for at in range(self.size):
                self.ranks[at] = chosen.data.as_uints[at]
                self.tickets[at] = tickets.data.as_ulonglongs[self.ranks[at]]
        memset(self.answered, 0, self.size)

    def __dealloc__(self):
        if self.tickets != self.single:
            free(self.tickets)

    cdef uint32_t rank_of(self, Py_ssize_t at) noexcept:
        """As `ledger._Waiting.rank_of`."""
        return self.first + at if self.ranks == NULL else self.ranks[at]

    cdef Py_ssize_t owing(self, uint64_t ticket) noexcept:
        """Where `ticket` is among those asked, if it still owes a result; else -1."""
        cdef Py_ssize_t at = find(self.tickets, 0, self.size, ticket)
        if at == self.size or self.tickets[at] != ticket or self.answered[at]:
            return -1
        return at

    cdef Py_ssize_t next_owing(self, Py_ssize_t at) noexcept:
        """The first place from `at` on whose executor owes its result; else -1. Looks for the zeros only."""
        cdef uint8_t *found = NULL
        if at < self.size:
            found = <uint8_t *> memchr(self.answered + at, 0, self.size - at)
        return -1 if found == NULL else found - self.answered

    cdef void unload(self, array tickets, array loads):
        """One load less for each executor that owes its result. `tickets` are the members."""
        cdef const uint64_t *now = <const uint64_t *> tickets.data.as_ulonglongs
        cdef Py_ssize_t members = len(tickets), rank = 0, at = self.next_owing(0)
        while at >= 0:
            if not (rank < members and now[rank] == self.tickets[at]):  # often it is the next one
                rank = find(now, rank, members, self.tickets[at])
            loads.data.as_uints[rank] -= 1
            rank += 1
            at += 1
            if at == self.size or self.answered[at]:
                at = self.next_owing(at)


cdef class Ledger:
    """As `ledger.Ledger`."""

    cdef dict waiting  # by seq
    cdef dict by_sender  # by ticket: the seq by command id
    cdef dict by_executor  # by ticket: the first of the commands with this executor alone, which are linked
    cdef dict shared  # by seq: the commands with several
    cdef dict untold  # by sender, then by seq
    cdef list finished
    cdef readonly Py_ssize_t owed

    def __cinit__(self):
        self.waiting = {}
        self.by_sender = {}
        self.by_executor = {}
        self.shared = {}
        self.untold = {}
        self.finished = []

    def __len__(self):
        return len(self.waiting)

    def __contains__(self, seq):
        return seq in self.waiting

    cpdef bint waits(self, uint64_t sender, uint32_t id_):
        """As `ledger.Ledger.waits`."""
        if not self.by_sender:
            return False
        ids = self.by_sender.get(sender)
        return ids is not None and id_ in ids

    cpdef Py_ssize_t count(self, uint64_t sender):
        """As `ledger.Ledger.count`."""
        ids = self.by_sender.get(sender)
        return 0 if ids is None else len(ids)

    def owed_to(self, uint64_t sender, uint32_t id_):
        """As `ledger.Ledger.owed_to`."""
        cdef Waiting waiting
        if not self.waits(sender, id_):
            return 0
        waiting = self.waiting[self.by_sender[sender][id_]]
        return waiting.remaining

    def open(
        self,
        uint64_t seq,
        uint64_t sender,
        uint32_t id_,
        bint tied,
        array tickets,
        Py_ssize_t first,
        Py_ssize_t last,
        array ranks=None,
    ):
        """As `ledger.Ledger.open`."""
        cdef Waiting waiting = Waiting(seq, sender, id_, tied, tickets, first, last, ranks)
        self.waiting[seq] = waiting
        self.by_sender.setdefault(sender, {})[id_] = seq
        if waiting.size == 1:
            link(self, waiting)
        else:
            self.shared[seq] = waiting
        self.owed += waiting.size

    def entries(self):
        """As `ledger.Ledger.entries`."""
        cdef Waiting w
        cdef list found = []
        cdef Py_ssize_t at
        for _, w in sorted(self.waiting.items()):
            found.append((
                w.seq,
                w.sender,
                w.id,
                bool(w.tied),
                tuple([w.tickets[at] for at in range(w.size)]),
                tuple([w.rank_of(at) for at in range(w.size)]),
                PyBytes_FromStringAndSize(<const char *> w.answered, w.size),
                tuple([w.counts[status] for status in range(6)]),
            ))
        return found

    def restore(self, uint64_t seq, uint64_t sender, uint32_t id_, bint tied, tickets, ranks, bytes answered, ended):
        """As `ledger.Ledger.restore`."""
        cdef Waiting waiting
        cdef Py_ssize_t told = answered.count(1), at
        cdef int status
        self.open(seq, sender, id_, tied, array("Q", tickets), 0, 0, array("I", range(len(tickets))))
        waiting = self.waiting[seq]
        if waiting.ranks == NULL:
            waiting.first = ranks[0]
        else:
            for at in range(waiting.size):
                waiting.ranks[at] = ranks[at]
        memcpy(waiting.answered, <const char *> answered, min(waiting.size, len(answered)))
        for status in range(6):
            waiting.counts[status] = ended[status]
        waiting.remaining -= told
        waiting.untold = len(answered) - told - answered.count(0)
        self.owed -= told
        if waiting.untold:
            self.untold.setdefault(sender, {})[seq] = waiting

    def settle(self, Batch batch, array tickets, array loads, dict routed):
        """As `ledger.Ledger.settle`."""
        cdef Py_ssize_t dropped = 0, at
        cdef size_t i
        cdef ResultEntry *entry
        cdef Waiting waiting = None
        cdef bytearray buffer = None  # what the sender of `waiting` gets of results
        cdef uint64_t asked = 0  # the seq that `waiting` was looked up for; most results of a turn answer the same
        cdef uint64_t *now = <uint64_t *> tickets.data.as_ulonglongs
        cdef Py_ssize_t members = len(tickets)
        for i in range(batch.result_count):
            entry = &batch.results[i]
            if entry.seq != asked:
                waiting = self.waiting.get(entry.seq)
                asked = entry.seq
                buffer = None
            at = -1 if waiting is None else waiting.owing(entry.ticket)
            if at < 0:
                dropped += 1
                continue
            if buffer is None:
                buffer = answers_of(routed, waiting.sender)
            route(waiting, at, entry.status, batch.arena + entry.payload, entry.size, buffer)
            if entry.status != PART:
                loads.data.as_uints[find(now, 0, members, entry.ticket)] -= 1
                end(self, waiting, at, entry.status)
        return dropped

    def leave(self, gone, Py_ssize_t owing, uint64_t behind=0):
        """As `ledger.Ledger.leave`."""
        cdef array tickets = array("Q", gone)
        cdef const uint64_t *leaving = <const uint64_t *> tickets.data.as_ulonglongs
        cdef Py_ssize_t i, at, count = len(tickets), before = owing
        cdef Waiting waiting
        for i in range(count):
            waiting = self.by_executor.get(leaving[i])
            while waiting is not None:
                if waiting.seq > behind and not waiting.answered[0]:
                    note(self, waiting, 0, LEFT)
                    owing -= 1
                waiting = <Waiting> waiting.after if waiting.after != NULL else None
        if not owing:
            return before
        for waiting in self.shared.values():
            if waiting.seq <= behind:
                continue
            for i in range(find(leaving, 0, count, waiting.tickets[0]), count):
                if leaving[i] > waiting.tickets[waiting.size - 1]:
                    break
                at = waiting.owing(leaving[i])
                if at >= 0:
                    note(self, waiting, at, LEFT)
                    owing -= 1
            if not owing:
                break
        return before - owing

    def expire(self, seqs, Py_ssize_t most, array tickets, array loads):
        """As `ledger.Ledger.expire`."""
        cdef Waiting waiting
        cdef Py_ssize_t at, owing, count = 0
        take = seqs.popleft
        while count < most and seqs:
            waiting = self.waiting.get(take())
            owing = 0
            if waiting is not None:
                waiting.unload(tickets, loads)
                at = waiting.next_owing(0)
                while at >= 0:
                    note(self, waiting, at, EXPIRED)
                    owing += 1
                    at = waiting.next_owing(at + 1)
            count += owing or 1
        return count

    def cancel(self, uint64_t sender, uint32_t id_, array tickets, array loads):
        """As `ledger.Ledger.cancel`."""
        if not self.waits(sender, id_):
            return 0, array("I")
        seq = self.by_sender[sender][id_]
        return seq, stop(self, self.waiting[seq], tickets, loads, True)

    def has_news(self, slow):
        """As `ledger.Ledger.has_news`."""
        for sender in self.untold:
            if sender not in slow:
                return True
        return False

    def tell(self, slow, Py_ssize_t most, Py_ssize_t most_each, dict routed):
        """As `ledger.Ledger.tell`."""
        cdef Py_ssize_t told = 0, left, at
        cdef dict commands
        cdef Waiting waiting
        cdef uint8_t status
        for sender in sorted([sender for sender in self.untold if sender not in slow]):
            left = min(most - told, most_each)
            if left <= 0:
                break
            commands = self.untold[sender]
            for seq in sorted(commands):
                waiting = commands[seq]
                for at in range(waiting.size):
                    if not left or not waiting.untold:
                        break
                    if not waiting.answered[at] & UNTOLD:
                        continue
                    status = waiting.answered[at] & ~UNTOLD
                    route(waiting, at, status, NULL, 0, answers_of(routed, waiting.sender))
                    waiting.untold -= 1
                    left -= 1
                    told += 1
                    end(self, waiting, at, status)
                if waiting.untold:
                    break
                del commands[seq]
            if not commands:
                del self.untold[sender]
        return told

    def forget(self, uint64_t sender, array tickets, array loads):
        """As `ledger.Ledger.forget`."""
        cdef Waiting waiting
        cdef list stopped = []
        self.untold.pop(sender, None)
        for seq in self.by_sender.pop(sender, {}).values():
            waiting = self.waiting.pop(seq)
            unlink(self, waiting)
            self.owed -= waiting.remaining
            if waiting.tied:
                ranks = stop(self, waiting, tickets, loads, False)
                if len(ranks):
                    stopped.append((seq, ranks))
                continue
            waiting.unload(tickets, loads)
        return stopped

    def finish(self, dict done):
        """As `ledger.Ledger.finish`."""
        cdef Waiting waiting
        cdef uint8_t *at
        cdef int status
        cdef list finished = self.finished
        self.finished = []
        finished.sort(key=_seq_of)
        for waiting in finished:
            at = put_head(answer(done, waiting.sender, HEAD + DONE_BODY), DONE_BODY, DONE)
            at = put_u32(at, waiting.id)
            for status in range(6):
                at = put_u32(at, waiting.counts[status])
        return len(finished)


def _seq_of(Waiting waiting):
    return waiting.seq


cdef array stop(Ledger ledger, Waiting waiting, array tickets, array loads, bint told):
    """As `ledger.Ledger._cancel`."""
    cdef array stopped = array("I")
    cdef Py_ssize_t at = waiting.next_owing(0), count = 0, rank = 0
    resize(stopped, waiting.size)
    while at >= 0:
        rank = rank_now(waiting.tickets[at], tickets)
        loads.data.as_uints[rank] -= 1
        stopped.data.as_uints[count] = rank
        count += 1
        if told:
            note(ledger, waiting, at, CANCELLED)
        at = waiting.next_owing(at + 1)
    resize(stopped, count)
    return stopped


cdef int note(Ledger ledger, Waiting waiting, Py_ssize_t at, uint8_t status) except -1:
    """As `ledger.Ledger._note`."""
    waiting.answered[at] = UNTOLD | status
    waiting.untold += 1
    if waiting.untold == 1:
        ledger.untold.setdefault(waiting.sender, {})[waiting.seq] = waiting
    return 0


cdef int route(
    Waiting waiting, Py_ssize_t at, uint8_t status, const uint8_t *payload, uint32_t size, bytearray buffer
) except -1:
    """Lay ROUTED for the executor at that place among those asked, behind what is in `buffer`."""
    cdef uint8_t *to = extend(buffer, HEAD + ROUTED_BODY + size)
    to = put_head(to, ROUTED_BODY + size, ROUTED)
    to = put_u32(to, waiting.id)
    to = put_u64(to, waiting.tickets[at])
    to = put_u32(to, waiting.rank_of(at))
    to[0] = status
    if size:
        memcpy(to + 1, payload, size)
    return 0


cdef int end(Ledger ledger, Waiting waiting, Py_ssize_t at, uint8_t status) except -1:
    """As `ledger.Ledger._end`."""
    waiting.answered[at] = 1
    waiting.counts[status] += 1
    waiting.remaining -= 1
    ledger.owed -= 1
    if not waiting.remaining:
        del ledger.waiting[waiting.seq]
        ids = ledger.by_sender[waiting.sender]
        del ids[waiting.id]
        if not ids:
            del ledger.by_sender[waiting.sender]
        unlink(ledger, waiting)
        ledger.finished.append(waiting)
    return 0


cdef int link(Ledger ledger, Waiting waiting) except -1:
    """Put a command with one executor before the others with the same one."""
    ticket = waiting.tickets[0]
    first = ledger.by_executor.get(ticket)
    if first is not None:
        waiting.after = <void *> first
        (<Waiting> first).before = <void *> waiting
    ledger.by_executor[ticket] = waiting
    return 0


cdef int unlink(Ledger ledger, Waiting waiting) except -1:
    """As `ledger.Ledger._unlink`."""
    if waiting.size > 1:
        del ledger.shared[waiting.seq]
        return 0
    if waiting.after != NULL:
        (<Waiting> waiting.after).before = waiting.before
    if waiting.before != NULL:
        (<Waiting> waiting.before).after = waiting.after
    elif waiting.after != NULL:
        ledger.by_executor[waiting.tickets[0]] = <Waiting> waiting.after
    else:
        del ledger.by_executor[waiting.tickets[0]]
    return 0
