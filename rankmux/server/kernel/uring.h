/* Many sends handed to the kernel in one call (io_uring(7)): it saves the way into the kernel for each of them.

   A `uring` takes up to URING_ENTRIES sends and then runs them, in the order in which they were put, none waiting for its
   peer: each does what send(MSG_DONTWAIT) would. It belongs to the thread that opened it. Where the system has no
   io_uring, or does not let us have it, uring_open() gives NULL. Knows no frames and no ranks. */

#ifndef RANKMUX_URING_H
#define RANKMUX_URING_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define URING_ENTRIES 256
#define URING_NOT_SENT INT_MIN /* the result of a send that the kernel did not take */

#if defined(__linux__) && defined(__has_include)
#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#endif
#endif

#if defined(IORING_SETUP_DEFER_TASKRUN) /* headers of Linux 6.1 or newer; an older kernel refuses the flag */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct {
    int fd;
    void *rings; /* both queues lie in one mapping */
    size_t rings_size;
    struct io_uring_sqe *entries;
    size_t entries_size;
    struct io_uring_cqe *completions;
    unsigned *sq_head, *sq_tail, *sq_array, *cq_head, *cq_tail;
    unsigned sq_mask, cq_mask;
    unsigned count;               /* entries put since the last run */
    int results[URING_ENTRIES];   /* of the last run, by entry */
    struct msghdr messages[URING_ENTRIES];
} uring;

static void uring_close(uring *r) {
    if (r == NULL)
        return;
    if (r->entries != MAP_FAILED && r->entries != NULL)
        munmap(r->entries, r->entries_size);
    if (r->rings != MAP_FAILED && r->rings != NULL)
        munmap(r->rings, r->rings_size);
    if (r->fd >= 0)
        close(r->fd);
    free(r);
}

static uring *uring_open(void) {
    struct io_uring_params p;
    uring *r = calloc(1, sizeof *r);
    char *base;
    size_t completions_end;
    if (r == NULL)
        return NULL;
    memset(&p, 0, sizeof p);
    p.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    r->fd = (int)syscall(__NR_io_uring_setup, URING_ENTRIES, &p);
    if (r->fd < 0 || !(p.features & IORING_FEAT_SINGLE_MMAP) || p.sq_entries != URING_ENTRIES)
        goto failed;
    r->rings_size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    completions_end = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    if (r->rings_size < completions_end)
        r->rings_size = completions_end;
    r->entries_size = p.sq_entries * sizeof(struct io_uring_sqe);
    r->rings = mmap(NULL, r->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
    r->entries = mmap(NULL, r->entries_size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
    if (r->rings == MAP_FAILED || r->entries == MAP_FAILED)
        goto failed;
    base = r->rings;
    r->sq_head = (unsigned *)(base + p.sq_off.head);
    r->sq_tail = (unsigned *)(base + p.sq_off.tail);
    r->sq_array = (unsigned *)(base + p.sq_off.array);
    r->sq_mask = *(unsigned *)(base + p.sq_off.ring_mask);
    r->cq_head = (unsigned *)(base + p.cq_off.head);
    r->cq_tail = (unsigned *)(base + p.cq_off.tail);
    r->cq_mask = *(unsigned *)(base + p.cq_off.ring_mask);
    r->completions = (struct io_uring_cqe *)(base + p.cq_off.cqes);
    return r;
failed:
    uring_close(r);
    return NULL;
}

/* Put a send of `count` pieces, at least one and at most IOV_MAX, behind the others. There must be room: count <
   URING_ENTRIES. The pieces, and the bytes that they point to, must stay as they are until uring_run() returns. */
static void uring_put(uring *r, int fd, const struct iovec *pieces, size_t count) {
    unsigned index = r->count++;
    struct io_uring_sqe *entry = &r->entries[index];
    memset(entry, 0, sizeof *entry);
    entry->fd = fd;
    entry->msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    entry->user_data = index;
    if (count > 1) {
        struct msghdr *message = &r->messages[index];
        message->msg_iov = (struct iovec *)pieces;
        message->msg_iovlen = count;
        entry->opcode = IORING_OP_SENDMSG;
        entry->addr = (uint64_t)(uintptr_t)message;
        entry->len = 1;
    } else {
        entry->opcode = IORING_OP_SEND;
        entry->addr = (uint64_t)(uintptr_t)pieces->iov_base;
        entry->len = (uint32_t)pieces->iov_len;
    }
    r->results[index] = URING_NOT_SENT;
}

/* Run what was put. The result of each is in `results` then: bytes sent, -errno, or URING_NOT_SENT; -EIO also for one of
   which nothing is known. Returns 0, or -1 when the ring is of no more use. */
static int uring_run(uring *r) {
    unsigned count = r->count, taken = 0, done = 0, i;
    unsigned tail = *r->sq_tail; /* ours to write; the kernel reads it within io_uring_enter() only */
    int refused = 0, broken = 0;
    r->count = 0;
    for (i = 0; i < count; i++)
        r->sq_array[(tail + i) & r->sq_mask] = i;
    __atomic_store_n(r->sq_tail, tail + count, __ATOMIC_RELEASE);
    while (done < taken || (taken < count && !refused)) {
        unsigned submit = refused ? 0 : count - taken;
        long n = syscall(__NR_io_uring_enter, r->fd, submit, taken + submit - done, IORING_ENTER_GETEVENTS, NULL, 0);
        unsigned head = *r->cq_head, end;
        if (n > 0)
            taken += (unsigned)n;
        else if (n < 0 && errno != EINTR) {
            broken = !submit || (errno != EAGAIN && errno != EBUSY && errno != ENOMEM);
            refused = 1; /* at best it has no memory for more: the rest is for the caller to send */
        }
        end = __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE);
        for (; head != end; head++, done++) {
            const struct io_uring_cqe *completion = &r->completions[head & r->cq_mask];
            r->results[completion->user_data] = completion->res;
        }
        __atomic_store_n(r->cq_head, head, __ATOMIC_RELEASE);
        if (broken) {
            for (i = 0; i < taken; i++)
                if (r->results[i] == URING_NOT_SENT)
                    r->results[i] = -EIO;
            return -1;
        }
    }
    __atomic_store_n(r->sq_tail, __atomic_load_n(r->sq_head, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
    return 0;
}

#else /* no io_uring */

typedef struct {
    unsigned count;
    int results[1];
} uring;

static uring *uring_open(void) { return NULL; }
static void uring_close(uring *r) { (void)r; }
static void uring_put(uring *r, int fd, const struct iovec *pieces, size_t count) {
    (void)r, (void)fd, (void)pieces, (void)count;
}
static int uring_run(uring *r) { (void)r; return -1; }

#endif
#endif
