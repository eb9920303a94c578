/* Pending output: one shared block for all peers, private spans, and backlogs.
 *
 * A peer that keeps up has no queue: it is sent a prefix of the shared block, its private frames spliced in,
 * with one system call per turn.  Bytes that the kernel does not take are kept as slices that refer to the blocks,
 * so there is one copy of a backlog, however many peers wait for it.
 */
#include "bare.h"
#include "memory.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { BLOCK_SIZE = 1 << 20, SLICES_PER_SEND = 64 };

static struct block *new_block(size_t capacity)
{
    struct block *block = resized(NULL, sizeof *block + capacity);
    *block = (struct block){.references = 1, .capacity = capacity};
    return block;
}

static void release(struct block *block)
{
    if (block && --block->references == 0)
        free(block);
}

void outbox_begin(struct outbox *out)
{
    if (!out->privates || out->privates->references > 1) {
        release(out->privates);
        out->privates = new_block(BLOCK_SIZE);
    }
    out->privates->used = 0;
    out->span_count = out->owed_count = 0;
}

/* Make room for `size` contiguous bytes.  After a block that some peer still waits for, it continues in the same
 * block while that has room, so adjacent slices become one. */
void outbox_reserve_shared(struct outbox *out, size_t size)
{
    struct block *block = out->shared;
    if (block && block->references == 1)
        block->used = 0;
    if (!block || block->capacity - block->used < size) {
        release(block);
        out->shared = block = new_block(size > BLOCK_SIZE ? size : BLOCK_SIZE);
    }
    out->turn_start = block->used;
}

/* Make room for `size` more private bytes.  Call it only before the turn's first send: it may move the block. */
void outbox_reserve_private(struct outbox *out, size_t size)
{
    struct block *block = out->privates;
    if (block->capacity - block->used < size) {
        size_t capacity = 2 * block->capacity + size;
        out->privates = block = resized(block, sizeof *block + capacity);
        block->capacity = capacity;
    }
}

/* Reserve `size` bytes for `peer` alone after offset `after` of the shared block; the caller fills them in. */
uint8_t *outbox_add(struct outbox *out, struct peer *peer, size_t after, size_t size)
{
    outbox_reserve_private(out, size);
    size_t start = out->privates->used;
    out->privates->used += size;

    struct private_span *last = peer->first_private == NO_FRAME ? NULL : &out->spans[peer->last_private];
    if (last && last->after == after && last->end == start) {
        last->end += size;
        return out->privates->bytes + start;
    }
    uint32_t added = out->span_count++;
    RESERVE(out->spans, out->span_capacity, out->span_count);
    out->spans[added] = (struct private_span){NO_FRAME, after, start, start + size};
    if (peer->first_private == NO_FRAME) {
        peer->first_private = added;
        RESERVE(out->owed, out->owed_capacity, out->owed_count + 1);
        out->owed[out->owed_count++] = peer;
    } else {
        out->spans[peer->last_private].next = added;
    }
    peer->last_private = added;
    return out->privates->bytes + start;
}

static void watch(struct outbox *out, struct peer *peer, bool writes)
{
    uint32_t events = (peer->departing ? 0 : EPOLLIN) | (writes ? EPOLLOUT : 0);
    epoll_ctl(out->epoll, EPOLL_CTL_MOD, peer->fd, &(struct epoll_event){.events = events, .data.ptr = peer});
}

static void keep(struct outbox *out, struct peer *peer, struct slice slice)
{
    struct backlog *backlog = peer->backlog;
    if (!backlog)
        watch(out, peer, true);
    else if (backlog->count) {
        struct slice *last = &backlog->slices[backlog->count - 1];
        if (last->block == slice.block && last->end == slice.start) {
            last->end = slice.end;
            return;
        }
    }
    if (!backlog || backlog->count == backlog->capacity) {
        uint32_t capacity = backlog ? 2 * backlog->capacity : 4;
        peer->backlog = resized(backlog, sizeof *backlog + capacity * sizeof *backlog->slices);
        if (!backlog)
            *peer->backlog = (struct backlog){0};
        backlog = peer->backlog;
        backlog->capacity = capacity;
    }
    slice.block->references++;
    backlog->slices[backlog->count++] = slice;
}

/* Offer up to SLICES_PER_SEND slices to the kernel; returns the number of bytes taken. */
static size_t offer(struct peer *peer, const struct slice *slices, uint32_t count)
{
    struct iovec parts[SLICES_PER_SEND];
    if (count > SLICES_PER_SEND)
        count = SLICES_PER_SEND;
    for (uint32_t i = 0; i < count; i++)
        parts[i] = (struct iovec){slices[i].block->bytes + slices[i].start, slices[i].end - slices[i].start};
    ssize_t sent;
    if (count == 1)
        sent = send(peer->fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    else
        sent = sendmsg(peer->fd, &(struct msghdr){.msg_iov = parts, .msg_iovlen = count}, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent > 0 ? (size_t)sent : 0;                 /* the next read reports a broken connection */
}

/* Collect the whole output for `peer` in this turn: the shared block up to `shared_end` with directed frames at
 * their places, then `rank_frame` if it has a block, then the answers. */
void outbox_send(struct outbox *out, struct peer *peer, size_t shared_end, struct slice rank_frame)
{
    static struct slice *slices;
    static uint32_t capacity;
    uint32_t count = 0;
    size_t at = out->turn_start;

    RESERVE(slices, capacity, 2 * out->span_count + 2);
    uint32_t next = peer->first_private;
    for (; next != NO_FRAME && out->spans[next].after != AFTER_ALL; next = out->spans[next].next) {
        struct private_span *span = &out->spans[next];
        if (span->after > at)
            slices[count++] = (struct slice){out->shared, at, span->after};
        slices[count++] = (struct slice){out->privates, span->start, span->end};
        at = span->after;
    }
    if (shared_end > at)
        slices[count++] = (struct slice){out->shared, at, shared_end};
    if (rank_frame.block)
        slices[count++] = rank_frame;
    for (; next != NO_FRAME; next = out->spans[next].next)
        slices[count++] = (struct slice){out->privates, out->spans[next].start, out->spans[next].end};
    peer->first_private = NO_FRAME;
    if (!count)
        return;

    size_t sent = peer->backlog ? 0 : offer(peer, slices, count);
    for (uint32_t i = 0; i < count; i++) {
        size_t size = slices[i].end - slices[i].start;
        if (sent >= size) {
            sent -= size;
            continue;
        }
        slices[i].start += sent;
        sent = 0;
        keep(out, peer, slices[i]);
    }
}

/* Send to the peers that have private frames and have not been sent to in this turn yet. */
void outbox_send_owed(struct outbox *out)
{
    for (uint32_t i = 0; i < out->owed_count; i++)
        if (out->owed[i]->first_private != NO_FRAME)
            outbox_send(out, out->owed[i], out->turn_start, (struct slice){0});
}

/* Continue a backlog: the peer's socket is writable again. */
void outbox_continue(struct outbox *out, struct peer *peer)
{
    struct backlog *backlog = peer->backlog;
    size_t sent = offer(peer, backlog->slices + backlog->first, backlog->count - backlog->first);
    while (sent) {
        struct slice *slice = &backlog->slices[backlog->first];
        size_t size = slice->end - slice->start;
        if (sent < size) {
            slice->start += sent;
            break;
        }
        sent -= size;
        release(slice->block);
        backlog->first++;
    }
    if (backlog->first == backlog->count) {
        free(backlog);
        peer->backlog = NULL;
        watch(out, peer, false);
    }
}

void outbox_forget(struct peer *peer)
{
    struct backlog *backlog = peer->backlog;
    if (!backlog)
        return;
    for (uint32_t i = backlog->first; i < backlog->count; i++)
        release(backlog->slices[i].block);
    free(backlog);
    peer->backlog = NULL;
}
