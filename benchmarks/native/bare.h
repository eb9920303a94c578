/* The parts of the bare server: the peer, the room with its ranks, and the outbox.
 *
 * bare.c       sockets: listen, accept, read, cut frames, run the turn, close
 * bare_room.c  ranks, commands, results, departures, joins; it knows no socket
 * bare_outbox.c  the pending output of each peer, and the one send per peer and turn
 */
#ifndef RANKMUX_BENCH_BARE_H
#define RANKMUX_BENCH_BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NO_RANK UINT32_MAX
#define NO_FRAME UINT32_MAX

/* Memory shared by the output of several receivers; freed with the last reference to it. */
struct block {
    uint32_t references;
    size_t used, capacity;
    uint8_t bytes[];
};

struct slice {
    struct block *block;
    size_t start, end;
};

/* Output that the kernel did not take at once.  Each slice holds a reference to its block. */
struct backlog {
    uint32_t first, count, capacity;
    struct slice slices[];
};

struct peer {
    int fd;
    uint32_t rank;                            /* NO_RANK before HELLO and after the departure */
    uint64_t ticket;
    struct backlog *backlog;                  /* NULL for a peer that keeps up */
    uint8_t *partial;                         /* an incomplete frame, NULL for most */
    uint32_t partial_size;
    uint32_t first_private, last_private;     /* this turn's frames for this peer alone */
    bool greeted, departing, closing;
};

/* A frame, or several in a row, for one peer alone.  `after` is its place among the frames for all:
 * the offset in the shared block that it follows, or AFTER_ALL. */
#define AFTER_ALL SIZE_MAX
struct private_span {
    uint32_t next;
    size_t after, start, end;
};

/* The output of this turn, by receiver. */
struct outbox {
    int epoll;
    struct block *shared;                     /* EXECUTE frames of ALL commands, the most senior sender's first */
    size_t turn_start;                        /* where this turn's frames begin */
    struct block *privates;                   /* every other frame */
    struct private_span *spans;
    uint32_t span_count, span_capacity;
    struct peer **owed;                       /* the peers that have private spans */
    uint32_t owed_count, owed_capacity;
};

void outbox_begin(struct outbox *out);
void outbox_reserve_shared(struct outbox *out, size_t size);
void outbox_reserve_private(struct outbox *out, size_t size);
uint8_t *outbox_add(struct outbox *out, struct peer *peer, size_t after, size_t size);
void outbox_send(struct outbox *out, struct peer *peer, size_t shared_end, struct slice rank_frame);
void outbox_send_owed(struct outbox *out);
void outbox_continue(struct outbox *out, struct peer *peer);
void outbox_forget(struct peer *peer);

struct command {
    struct peer *sender;
    const uint8_t *payload;
    uint32_t payload_size, id, arg, ttl_ms;
    uint16_t refusal;
    uint8_t target, flags;
};

struct result {
    struct peer *executor;
    const uint8_t *payload;
    uint64_t seq;
    uint32_t payload_size;
    uint8_t status;
};

struct pong {
    struct peer *peer;
    const uint8_t *payload;
    uint32_t payload_size;
};

/* The input of this turn, in the order of arrival. */
struct turn {
    struct command *commands;
    uint32_t command_count, command_capacity;
    size_t shared_size;                       /* of the EXECUTE frames for all */
    struct result *results;
    uint32_t result_count, result_capacity;
    struct pong *pongs;
    uint32_t pong_count, pong_capacity;
    struct peer **departures;
    uint32_t departure_count, departure_capacity;
    struct peer **joins;
    uint32_t join_count, join_capacity;
    uint8_t cause;                            /* of the last departure */
};

/* A command that waits for results.  The executors are those of the dispatch, in rank order. */
struct pending {
    uint64_t seq;
    struct peer *sender;
    uint64_t *tickets;
    bool *settled;
    uint32_t id, first_rank, executors, waiting, ok, failed, rejected, left;
};

/* From here on, members below `sender` get the shared block up to `end`. */
struct step {
    uint32_t sender;
    size_t end;
};

struct room {
    struct peer **members;                    /* in rank order */
    uint64_t *tickets;                        /* parallel to members */
    uint32_t *loads;                          /* parallel to members */
    uint32_t count, seats;
    uint64_t instance, last_ticket, seq;
    struct step *steps;
    uint32_t step_count, step_capacity;
    struct pending *pending;                  /* in seq order */
    uint32_t pending_count, pending_capacity;
    uint64_t *order;
    uint32_t order_capacity;
};

void room_open(struct room *room, uint32_t seats);
void room_turn(struct room *room, struct turn *turn, struct outbox *out);

#endif
